"""Two bridges with a subnet of pods on each, and one nftables table.

Pods reach each other, this machine, and no one else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.layout import API_PORT, KUBERNETES_SERVICE, NFT_TABLE, NODES, PREFIX, RUN, SERVICES, Node

# What the kubelet sets when it finds something else; `down` sets back what was there before.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
)
_SAVED_SYSCTLS = RUN / "sysctls.json"
_COMMENT = "podtracer-cluster"

# kubernetes.default is the one service that answers (there is no kube-proxy); other service addresses are refused at
# once rather than sent to this machine's default route, and so is all that leaves the two bridges.
_RULES = f"""
table ip {NFT_TABLE} {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {KUBERNETES_SERVICE} tcp dport 443 dnat to {NODES[0].address}:{API_PORT}
  }}
  chain output {{
    type nat hook output priority -100;
    ip daddr {KUBERNETES_SERVICE} tcp dport 443 dnat to {NODES[0].address}:{API_PORT}
  }}
  chain forward {{
    type filter hook forward priority filter;
    iifname "{PREFIX}-*" oifname != "{PREFIX}-*" reject
    iifname != "{PREFIX}-*" oifname "{PREFIX}-*" reject
  }}
  chain services {{
    type filter hook output priority filter;
    ip daddr {SERVICES} reject
  }}
}}
"""


def save_sysctls() -> None:
    """Write down the kernel's settings that a node changes."""
    values = {name: path.read_text().strip() for name in _SYSCTLS if (path := Path("/proc/sys") / name).exists()}
    _SAVED_SYSCTLS.write_text(json.dumps(values))


def restore_sysctls() -> None:
    """Give the kernel's settings their former values."""
    try:
        values = json.loads(_SAVED_SYSCTLS.read_text())
    except (OSError, ValueError):
        return
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if path.read_text().strip() != value:
            path.write_text(value)


def up(nodes: Sequence[Node]) -> None:
    """Make the bridges and the rules."""
    for node in nodes:
        run(["ip", "link", "add", node.bridge, "type", "bridge"])
        run(["ip", "address", "add", f"{node.address}/24", "dev", node.bridge])
        run(["ip", "link", "set", node.bridge, "up"])
        # For this bridge alone: the machine's own ip_forward stays as it is, and the setting goes with the bridge.
        Path(f"/proc/sys/net/ipv4/conf/{node.bridge}/forwarding").write_text("1")
    run(["nft", "-f", "-"], stdin=_RULES)
    # A machine with Docker drops what is forwarded, whatever other tables say.
    if run(["iptables", "-S", "FORWARD"], check=False).stdout.startswith("-P FORWARD DROP"):
        run(["iptables", "-I", "FORWARD", *_forward_rule()])


def _forward_rule() -> list[str]:
    return ["-i", f"{PREFIX}-+", "-o", f"{PREFIX}-+", "-m", "comment", "--comment", _COMMENT, "-j", "ACCEPT"]


def write_cni(node: Node) -> None:
    """Write the node's CNI network: an address of its subnet, and a veth on its bridge."""
    node.cni.mkdir(parents=True, exist_ok=True)
    # Without isGateway the plugin leaves the machine's ip_forward alone; the bridge has its address already.
    bridge = {
        "type": "bridge",
        "bridge": node.bridge,
        "ipam": {
            "type": "host-local",
            "dataDir": str(RUN / node.name / "addresses"),
            "ranges": [[{"subnet": node.subnet, "gateway": node.address}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    network = {"cniVersion": "0.4.0", "name": node.bridge, "plugins": [bridge]}
    (node.cni / "10-podtracer.conflist").write_text(json.dumps(network, indent=1) + "\n")


def links() -> list[str]:
    """Return the bridges, and the veths on them, that are there."""
    found = [node.bridge for node in NODES if Path(f"/sys/class/net/{node.bridge}").exists()]
    for bridge in list(found):
        found[:0] = [port.name for port in Path(f"/sys/class/net/{bridge}/brif").iterdir()]
    return found


def namespaces() -> list[Path]:
    """Return the network namespaces whose link into this one is on one of our bridges.

    A name in /run/netns that begins with `cni-` may be another runtime's; one that is plugged into our bridge is not.
    """
    folder = Path("/run/netns")
    found = []
    for port in links():
        details = run(["ip", "-json", "link", "show", "dev", port], check=False).stdout
        for link in json.loads(details or "[]"):
            if (number := link.get("link_netnsid")) is None:
                continue
            listed = run(["ip", "netns", "list-id", "nsid", str(number)], check=False).stdout
            if (name := re.search(r"iproute2 netns name: (cni-\S+)", listed)) is not None:
                found.append(folder / name[1])
    return sorted(set(found))


def rules() -> list[str]:
    """Return the tables and rules of ours that are there."""
    found = []
    if run(["nft", "list", "table", "ip", NFT_TABLE], check=False).returncode == 0:
        found.append(f"nft table ip {NFT_TABLE}")
    if run(["iptables", "-C", "FORWARD", *_forward_rule()], check=False).returncode == 0:
        found.append(f"iptables rule {_COMMENT}")
    return found


def down() -> None:
    """Remove veths, bridges and rules."""
    for link in links():
        run(["ip", "link", "delete", link], check=False)
    run(["nft", "delete", "table", "ip", NFT_TABLE], check=False)
    while run(["iptables", "-D", "FORWARD", *_forward_rule()], check=False).returncode == 0:
        pass
