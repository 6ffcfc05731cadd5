"""OpenWrt's parts under the real busybox ash; procd, uci and rc.common are stand-ins with their documented forms.

procd, opkg and sysupgrade do not run here: `lib/functions.sh` below has the functions that the scripts call, by their contract in
OpenWrt's base-files (config_load with its callbacks, config_get_bool, default_postinst, default_prerm). No device gave these.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.config import load_config
from agent.config.keys import keys
from tests.packaging import adb_reader, small

assert small.ROOT
import contents  # noqa: E402
import make_packages  # noqa: E402
from contents import Tree  # noqa: E402

OPENWRT = small.ROOT / "packaging/openwrt"
FUNCTIONS = r"""
reset_cb() { config_cb() { return 0; }; option_cb() { return 0; }; list_cb() { return 0; }; }
reset_cb
config() { CONFIG_SECTION=$2; config_cb "$1" "$2"; }
option() { eval "CONFIG_${CONFIG_SECTION}_$1=\$2"; option_cb "$1" "$2"; }
list() { list_cb "$1" "$2"; }
package() { return 0; }
# uci export prints the file with its values quoted: the same statements.
config_load() { . "$UCI/$1"; config_cb; }
config_get_bool() {
	eval "value=\${CONFIG_$2_$3:-$4}"
	case $value in 1 | on | true | yes | enabled) eval "$1=1" ;; *) eval "$1=0" ;; esac
}
default_postinst() { echo "default_postinst $pkgname upgrade=${PKG_UPGRADE:-0}"; }
default_prerm() { echo "default_prerm $pkgname"; }
"""
PROCD = r"""
procd_open_instance() { echo open; }
procd_close_instance() { echo close; }
procd_set_param() { kind=$1; shift; for word in "$@"; do echo "$kind=$word"; done; }
procd_add_reload_trigger() { echo "trigger=$1"; }
"""


def ash(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "UCI": str(folder)} | environ
    return subprocess.run(
        ["busybox", "ash", "-c", script], capture_output=True, text=True, check=False, env=environment
    )


def start(folder: Path, config: str, then: str = "start_service; service_triggers") -> list[str]:
    """The lines that procd is told for this /etc/config/edge-agent."""
    (folder / "edge-agent").write_text(config)
    done = ash(f"{FUNCTIONS}{PROCD}. {OPENWRT}/edge-agent.init; {then}", folder)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_procd_never_gives_up_and_reloads_on_changes(tmp_path: Path) -> None:
    lines = start(tmp_path, (OPENWRT / "edge-agent.config").read_text())
    assert lines[:6] == [
        "open",
        "command=/usr/bin/edge-agent",
        "command=serve",
        "respawn=3600",
        "respawn=5",
        "respawn=0",
    ]
    assert "file=/etc/config/edge-agent" in lines
    assert lines[-2:] == ["close", "trigger=edge-agent"]
    assert not any(line.startswith("env=") for line in lines)


def test_a_disabled_service_starts_nothing(tmp_path: Path) -> None:
    assert start(tmp_path, "config agent 'main'\n\toption enabled '0'\n") == ["trigger=edge-agent"]


CONFIG = """
config agent 'main'
	option enabled '1'
	option name 'ap "hall" $HOME `id` *'
	list labels 'floor=2'
	list labels 'wing=east'
	option mesh_port '7000'
	option mesh_mdns '0'
	list mesh_join '10.0.0.5:7946'
	list mesh_join '10.0.0.6:7946'
	option journal_max_open '500'
	list sources_tail '/var/log/messages'

config other 'elsewhere'
	option name 'not this'
	list labels 'not=this'
"""


def test_options_of_uci_become_the_configuration(tmp_path: Path) -> None:
    environ = dict(line[4:].split("=", 1) for line in start(tmp_path, CONFIG) if line.startswith("env="))
    config = load_config(environ=environ | {"EDGE_AGENT_NAME": "ap-hall"})
    assert environ["EDGE_AGENT_NAME"] == 'ap "hall" $HOME `id` *'
    assert config.labels == {"floor": "2", "wing": "east"}
    assert (config.mesh.port, config.mesh.mdns) == (7000, False)
    assert list(config.mesh.join) == ["10.0.0.5:7946", "10.0.0.6:7946"]
    assert config.journal.max_open == 500
    assert [str(source) for source in config.sources.tail] == ["/var/log/messages"]
    assert "EDGE_AGENT_ENABLED" not in environ


def test_every_key_has_a_name_that_uci_allows(tmp_path: Path) -> None:
    options = [key.environment.removeprefix("EDGE_AGENT_").lower() for key in keys().values()]
    lines = start(tmp_path, "config agent 'main'\n" + "".join(f"\toption {name} '1'\n" for name in options), "settings")
    assert lines == [f"{key.environment}=1" for key in keys().values()]


def test_a_name_that_is_no_setting_is_left_out(tmp_path: Path) -> None:
    lines = start(tmp_path, "config agent 'main'\n\toption Name '1'\n\toption log_level 'debug'\n", "settings")
    assert lines == ["EDGE_AGENT_LOG_LEVEL=debug"]


@pytest.mark.parametrize(
    ("arch", "machine", "features", "accepted"),
    [
        ("armv7", "armv7l", "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae", True),
        ("armv7", "armv7l", "half thumb fastmult vfp edsp thumbee vfpv3 vfpv3d16 tls", False),
        ("armv7", "mips", "", False),
        ("aarch64", "aarch64", "fp asimd evtstrm aes", True),
        ("aarch64", "armv7l", "neon", False),
        ("x86_64", "x86_64", "", True),
        ("armv7", "aarch64", "fp asimd", False),
    ],
)
def test_the_processor_is_checked_before_installation(
    tmp_path: Path, arch: str, machine: str, features: str, accepted: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nFeatures\t: {features}\n")
    script = contents.opkg_scripts(arch)["preinst"].replace("/proc/cpuinfo", str(tmp_path / "cpuinfo"))
    done = ash(f"uname() {{ echo {machine}; }}\n{script}", tmp_path)
    assert (done.returncode == 0) is accepted
    assert accepted or "cannot run here" in done.stderr
    assert ash(f"uname() {{ echo mips; }}\n{script}", tmp_path, IPKG_INSTROOT="/image").returncode == 0


def test_a_system_of_32_bits_on_an_arm64_kernel_is_armv7(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd evtstrm aes\n")
    (tmp_path / "sh").write_bytes(b"\x7fELF\x01")
    script = contents.opkg_scripts("armv7")["preinst"]
    script = script.replace("/proc/cpuinfo", str(tmp_path / "cpuinfo")).replace("/bin/sh |", f"{tmp_path}/sh |")
    assert ash(f"uname() {{ echo aarch64; }}\n{script}", tmp_path).returncode == 0


def test_scripts_call_those_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/functions.sh").write_text(FUNCTIONS)

    def run(script: str) -> list[str]:
        return ash(script, tmp_path, IPKG_INSTROOT=str(tmp_path)).stdout.splitlines()

    scripts = contents.apk_scripts("x86_64")
    assert run(scripts["post-install"]) == ["default_postinst edge-agent upgrade=0"]
    assert run(scripts["post-upgrade"]) == ["default_postinst edge-agent upgrade=1"]
    assert run(scripts["pre-deinstall"]) == ["default_prerm edge-agent"]
    assert ash(scripts["post-install"], tmp_path, IPKG_INSTROOT="/nowhere").returncode == 0


def test_a_failed_check_starts_no_service_under_apk(tmp_path: Path) -> None:
    (tmp_path / "functions.sh").write_text(FUNCTIONS)
    script = contents.apk_scripts("aarch64")["post-install"]
    script = script.replace('"${IPKG_INSTROOT:-}/lib/functions.sh"', str(tmp_path / "functions.sh"))
    for machine, code, out in (("aarch64", 0, "default_postinst edge-agent upgrade=0\n"), ("mips", 1, "")):
        done = ash(f"uname() {{ echo {machine}; }}\n{script}", tmp_path)
        assert (done.returncode, done.stdout) == (code, out)


@pytest.mark.parametrize(("enabled", "calls"), [(True, ["enabled", "restart"]), (False, ["enabled"])])
def test_an_upgrade_under_apk_restarts_what_is_enabled(tmp_path: Path, enabled: bool, calls: list[str]) -> None:
    (tmp_path / "functions.sh").write_text(FUNCTIONS)
    init = tmp_path / "init"
    init.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/calls\nexit {0 if enabled else 1}\n')
    init.chmod(0o755)
    script = contents.apk_scripts("x86_64")["post-upgrade"]
    script = script.replace('"${IPKG_INSTROOT:-}/lib/functions.sh"', str(tmp_path / "functions.sh"))
    script = script.replace('"${IPKG_INSTROOT:-}/etc/init.d/edge-agent"', str(init))
    done = ash(f"uname() {{ echo x86_64; }}\n{script}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "calls").read_text().split() == calls


def test_the_shell_parts_are_clean(tmp_path: Path) -> None:
    subprocess.run(["shellcheck", "-s", "sh", OPENWRT / "edge-agent.init"], check=True)
    for name, text in (contents.apk_scripts("armv7") | contents.opkg_scripts("armv7")).items():
        (tmp_path / name).write_text(text)
        assert "@ARCH@" not in text
        subprocess.run(["shellcheck", "-s", "sh", tmp_path / name], check=True)
        subprocess.run(["busybox", "ash", "-n", tmp_path / name], check=True)


def test_both_packages_hold_the_lists_that_sysupgrade_reads(tmp_path: Path) -> None:
    tree = Tree.read(small.make_tree(tmp_path, arch="armv7"))
    paragraphs: list[dict[str, str]] = []
    ipk, apk = (make_packages.write(kind, tree, tmp_path, paragraphs) for kind in ("ipk", "apk"))
    assert (ipk.file, apk.file) == ("edge-agent_0.1.0-1_noarch-armv7.ipk", "edge-agent-0.1.0-r1-armv7.apk")
    assert {p["Filename"] for p in paragraphs} == {ipk.file}
    assert [p["Architecture"] for p in paragraphs] == list(contents.CORES["armv7"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress((tmp_path / ipk.file).read_bytes()))) as outer:
        parts = {name: outer.extractfile(f"./{name}").read() for name in ("control.tar.gz", "data.tar.gz")}  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(parts["control.tar.gz"])) as tar:
        control = tar.extractfile("./control").read().decode()  # type: ignore[union-attr]
        assert tar.extractfile("./conffiles").read() == b"/etc/config/edge-agent\n"  # type: ignore[union-attr]
    assert "Architecture: noarch\n" in control
    with tarfile.open(fileobj=io.BytesIO(parts["data.tar.gz"])) as tar:
        assert tar.getmember("./etc/init.d/edge-agent").mode == 0o755
        assert tar.getmember("./etc/config/edge-agent").mode == 0o600
        assert tar.getmember("./usr/bin/edge-agent").linkname == "/opt/edge-agent/current/edge-agent"
        kept = tar.extractfile("./lib/upgrade/keep.d/edge-agent").read()  # type: ignore[union-attr]
    assert b"/etc/edge-agent/\n" in kept
    found = adb_reader.read((tmp_path / apk.file).read_bytes())
    lists = {
        one[1].decode(): found.files[at, number].decode()
        for at, folder in enumerate(found.root[2], 1)
        for number, one in enumerate(folder.get(3, []), 1)
        if folder[1] == b"lib/apk/packages"
    }
    assert set(lists) == {"edge-agent.list", "edge-agent.conffiles", "edge-agent.conffiles_static"}
    assert "/etc/init.d/edge-agent\n" in lists["edge-agent.list"]
    name, digest = lists["edge-agent.conffiles_static"].split()
    assert (name, len(digest)) == ("/etc/config/edge-agent", 64)
