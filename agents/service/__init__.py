"""The service: content and research by language models, behind HTTP; see docs/service.md."""
