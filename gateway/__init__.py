"""The gateway: an OpenAI-compatible proxy that corrects what the policy models answer."""
