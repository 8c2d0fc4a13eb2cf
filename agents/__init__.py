"""What an agent program uses: the client, the decorators, access to language models."""

if __name__ == "agents":
    raise ImportError(
        "'agents' is accord's own source folder here, not the OpenAI Agents SDK: the checkout's folder hides "
        "the SDK when Python runs inside it. Run your program from another directory. "
        "accord's package is called accord.agents."
    )
