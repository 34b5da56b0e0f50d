"""What every role promises: defaults and argument specification agree, and files keep their shape."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import CHECKS
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_report import (
    OPERATOR_NAMES,
    ROLE_NAMES,
    variable_name,
)
from inputs_support import GOOD_INPUTS, SITE

REPOSITORY = Path(__file__).parents[2]
ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())
SPECIFIED = [role for role in ROLES if (role / "meta" / "argument_specs.yml").is_file()]
PUBLIC = [role for role in SPECIFIED if (role / "tasks" / "main.yml").is_file()]
TASK_FILES = sorted(REPOSITORY.glob("roles/*/tasks/**/*.yml"))
TEMPLATES = sorted(path for path in REPOSITORY.glob("roles/*/templates/**/*") if path.is_file())
MARKERS = ("<!-- BEGIN_ANSIBLE_DOCS -->", "<!-- END_ANSIBLE_DOCS -->")
LONGEST_TASK_FILE = 80
INCLUDES = {f"ansible.builtin.{kind}_{what}" for kind in ("import", "include") for what in ("tasks", "role")}
# Settings of the validation itself, facts and what a folder holds, which no role has among its defaults.
NOT_VARIABLES = {
    *("secret", "redis_fault", "architecture", "distribution", "artifact"),
    *("own_sites", "own_addresses", "first_addresses"),
}
# Messages about who is where name a group of the inventory.
INVENTORY_GROUPS = {"matrixrtc_rtc", "matrixrtc_sfu"}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY / "roles"))


def loaded(path: Path) -> Any:
    """A YAML file, with Ansible's own tags read as plain text."""
    return yaml.safe_load(path.read_text(encoding="utf-8").replace("!unsafe ", "").replace("!vault ", ""))


def defaults_of(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (loaded(path) or {}) if path.is_file() else {}


def entry_points(role: Path) -> dict[str, Any]:
    return dict(loaded(role / "meta" / "argument_specs.yml")["argument_specs"])


def options_of(role: Path) -> dict[str, Any]:
    return dict(entry_points(role)["main"].get("options") or {})


def is_template(value: Any) -> bool:
    return "{{" in yaml.safe_dump(value) or "{%" in yaml.safe_dump(value)


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_every_role_has_a_specification(role: Path) -> None:
    assert role in SPECIFIED


@pytest.mark.parametrize("role", SPECIFIED, ids=name_of)
def test_every_entry_point_is_described(role: Path) -> None:
    for name, entry in entry_points(role).items():
        assert entry.get("short_description"), f"{name} has no short_description"
        assert entry.get("description"), f"{name} has no description"
        assert (role / "tasks" / f"{name}.yml").is_file(), f"{name} has no task file"


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_every_public_role_can_be_checked_run_and_removed(role: Path) -> None:
    assert {"main", "preflight", "remove"} <= entry_points(role).keys()


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_preflight_takes_anything(role: Path) -> None:
    """Ansible stops at the first option that has the wrong type; the preflight has to report all problems."""
    assert entry_points(role)["preflight"]["options"] == {}


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_defaults_and_specification_name_the_same_variables(role: Path) -> None:
    assert defaults_of(role).keys() == options_of(role).keys()


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_defaults_and_specification_agree_on_values(role: Path) -> None:
    options = options_of(role)
    for name, value in defaults_of(role).items():
        if is_template(value):
            assert "default" not in options[name], (
                f"{name} is derived, so its description has to say from what"
            )
        else:
            assert "default" in options[name], f"{name} has the default {value!r}"
            assert (type(options[name]["default"]), options[name]["default"]) == (type(value), value), name


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_every_option_is_typed_and_described(role: Path) -> None:
    for name, option in options_of(role).items():
        assert option.get("type"), f"{name} has no type"
        assert option.get("description"), f"{name} has no description"


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_every_default_starts_with_the_roles_name(role: Path) -> None:
    for name in defaults_of(role):
        assert name.startswith(f"{role.name}_"), name


@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_every_role_has_a_readme(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    if role in PUBLIC:
        start, end = (text.find(marker) for marker in MARKERS)
        assert 0 <= start < end, "the markers of the variable table are missing"


@pytest.mark.parametrize("role", PUBLIC, ids=name_of)
def test_every_public_role_depends_on_the_shared_one(role: Path) -> None:
    assert loaded(role / "meta" / "main.yml")["dependencies"] == [{"role": "matrixrtc.backend.common"}]


@pytest.mark.parametrize("template", TEMPLATES, ids=name_of)
def test_every_template_says_who_manages_it(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    silent = r"{#.*?#}|{%-? *macro .*?{%-? *endmacro *-?%}|{%.*?%}"  # what puts nothing into the file
    lines = [line for line in re.sub(silent, "", text, flags=re.DOTALL).splitlines() if line.strip()]
    if not lines:  # macros put nothing into a file by themselves
        return
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert "ansible_managed" in first


@pytest.mark.parametrize("tasks", TASK_FILES, ids=name_of)
def test_task_files_are_short(tasks: Path) -> None:
    assert len(tasks.read_text(encoding="utf-8").splitlines()) <= LONGEST_TASK_FILE


@pytest.mark.parametrize("tasks", [path for path in TASK_FILES if path.name == "main.yml"], ids=name_of)
def test_main_only_includes(tasks: Path) -> None:
    for task in loaded(tasks):
        assert INCLUDES & task.keys(), task.get("name")


# What the preflights tell the validation


def preflight_inputs(role: Path) -> dict[str, Any]:
    """The inputs that a role's preflight passes to valid_inputs."""
    tasks = [
        task for task in loaded(role / "tasks" / "preflight.yml") if "matrixrtc.backend.valid_inputs" in task
    ]
    assert len(tasks) == 1, "the preflight is one call of valid_inputs"
    return dict(tasks[0]["matrixrtc.backend.valid_inputs"]["inputs"])


@pytest.mark.parametrize("role", [role for role in PUBLIC if role.name in CHECKS], ids=name_of)
def test_preflight_passes_what_is_checked(role: Path) -> None:
    """A key that is not passed is not checked; one that nothing reads is a misspelt one."""
    known = GOOD_INPUTS[role.name].keys() | SITE.keys()
    assert preflight_inputs(role).keys() <= known
    assert GOOD_INPUTS[role.name].keys() <= preflight_inputs(role).keys()


@pytest.mark.parametrize("role", [role for role in PUBLIC if role.name in CHECKS], ids=name_of)
def test_messages_name_variables_that_exist(role: Path) -> None:
    shared = (REPOSITORY / "roles" / "common" / "defaults" / "main.yml").read_text(encoding="utf-8")
    everything = {name for other in ROLES for name in defaults_of(other)}
    for key in GOOD_INPUTS[role.name].keys() - NOT_VARIABLES:
        variable = variable_name(role.name, key)
        assert variable in everything or f"{variable} " in shared, variable


def test_operator_names_are_read_by_the_shared_role() -> None:
    shared = (REPOSITORY / "roles" / "common" / "defaults" / "main.yml").read_text(encoding="utf-8")
    for variable in {*OPERATOR_NAMES.values(), *ROLE_NAMES.values()} - INVENTORY_GROUPS:
        if variable.startswith("matrixrtc_"):
            assert f"{variable} " in shared, variable


@pytest.mark.parametrize("role", [role for role in PUBLIC if role.name in CHECKS], ids=name_of)
def test_no_variable_escapes_the_validation(role: Path) -> None:
    """Otherwise a wrong one would be found when an earlier role has changed the host already."""
    passed = yaml.safe_dump(preflight_inputs(role))
    for name in defaults_of(role):
        assert name in passed or variable_name(role.name, name.removeprefix(f"{role.name}_")) in passed, name
