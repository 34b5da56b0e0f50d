"""Ansible's own loader, for lookups in templates, before the collection is imported in another way."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).parents[2] / ".ansible" / "collections")])
