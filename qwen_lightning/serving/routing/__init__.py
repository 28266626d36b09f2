"""From a chat request to its adapter, task and prompt."""
