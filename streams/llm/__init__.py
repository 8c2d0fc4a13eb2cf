"""The llm domain: who calls a model, and the answers that are kept, as pure rules."""
