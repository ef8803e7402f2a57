"""The package named platform is the standard module as well."""

import ast
import json
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = Path(sysconfig.get_path("stdlib")) / "platform.py"


def python(*arguments, cwd=ROOT):
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_of_the_standard_module_is_there_and_equal():
    program = (
        "import json, platform; names = sorted(n for n in vars(platform) if not n.startswith('__'));"
        "print(json.dumps([platform.system(), platform.python_version(), platform.platform(), names]))"
    )
    ours, standard = json.loads(python("-c", program)), json.loads(python("-c", program, cwd="/"))
    assert ours[:3] == standard[:3]
    assert set(standard[3]) <= set(ours[3])


def test_patching_the_package_reaches_the_standard_modules_own_functions():
    program = (
        "import platform; from unittest import mock\n"
        "with mock.patch('platform.uname', return_value=platform.uname()._replace(system='Nowhere')):\n"
        "    print(platform.system())"
    )
    assert python("-c", program).strip() == "Nowhere"


@pytest.mark.parametrize("arguments", [(), ("terse",), ("--nonaliased",)])
def test_python_m_platform_prints_what_it_always_printed(arguments):
    assert python("-m", "platform", *arguments) == python("-m", "platform", *arguments, cwd="/")


def test_no_submodule_bears_the_name_of_an_attribute_of_the_standard_module():
    tree = ast.parse(STANDARD.read_text())
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    taken = {alias.asname or alias.name.split(".")[0] for alias in imports}
    taken |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    taken |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    # of the other supported versions of Python, those that this one lacks
    taken |= {"android_ver", "AndroidVer", "ios_ver", "IOSVersionInfo", "invalidate_caches", "subprocess", "socket"}
    ours = {module.name for module in pkgutil.iter_modules([str(ROOT / "platform")])}
    assert {"sweep", "mirror", "plan"} <= ours
    assert ours & taken == set()


@pytest.mark.parametrize("command", [("-m", "pytest"), (str(Path(sys.executable).parent / "pytest"),)])
def test_both_ways_of_starting_pytest_find_the_package(command, tmp_path):
    done = subprocess.run(
        [sys.executable, *command, "--collect-only", "-q", "-p", "no:cacheprovider", "tests/platform/test_plan.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_reading_a_spec_imports_neither_torch_nor_ray_nor_mlflow():
    program = (
        "import sys; from pathlib import Path; from platform.spec_file import read; read(Path('ablation.yaml'));"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    assert python("-c", program).strip() == "[]"
