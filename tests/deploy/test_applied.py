"""deploy/ on a real cluster: what the API server says of it, and what its pods can do and cannot."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.cluster.fixtures import Kubectl, Notebook, wait_for, web_pods
from tests.deploy.jupyter import Jupyter, forwarded
from tests.deploy.manifests import DEPLOY, OVERLAYS, kustomize
from tests.deploy.status import LAUNCH, MASK, masks
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl")]


def statuses(notebook: Notebook) -> dict[str, str]:
    """Return the status of each process of the notebook's container, by its command line."""
    script = (
        "import json, pathlib\n"
        "found = {}\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    try:\n"
        "        words = (path / 'cmdline').read_bytes().replace(b'\\0', b' ').decode()\n"
        "        found[f'{words}{path.name}'] = (path / 'status').read_text()\n"
        "    except OSError:\n"
        "        pass\n"
        "print(json.dumps(found))\n"
    )
    return dict(json.loads(notebook.output("python3", "-c", script)))


def host_pid(notebook: Notebook, uid: str) -> str:
    """Return the process id, below /host/proc, of a pod's first process: by control group, without privilege."""
    script = (
        "import pathlib, sys\n"
        "for path in sorted(pathlib.Path('/host/proc').glob('[0-9]*'), key=lambda path: int(path.name)):\n"
        "    try:\n"
        "        groups = (path / 'cgroup').read_text()\n"
        "        words = (path / 'cmdline').read_bytes()\n"
        "    except OSError:\n"
        "        continue\n"
        "    if sys.argv[1] in groups and 'conmon' not in groups and b'httpd' in words:\n"
        "        print(path.name)\n"
        "        break\n"
    )
    return notebook.output("python3", "-c", script, uid).strip()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_accepts_the_overlay(overlay: str, notebook: Notebook, shop: Kubectl) -> None:
    made = kustomize(DEPLOY / "overlays" / overlay)
    # A kind of OpenShift's own API, which no other API server knows.
    known = [each for each in made if not each["apiVersion"].startswith("security.openshift.io/")]
    # As it comes: not in place of what is applied, whose claim was patched and may not change.
    for each in known:
        if each["kind"] == "StatefulSet":
            each["metadata"]["name"] = "podtracer-dry"
    done = notebook.kubectl.run("apply", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump_all(known))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_api_server_accepts_the_sample(shop: Kubectl) -> None:
    done = shop.run("apply", "--dry-run=server", "--kustomize", str(DEPLOY / "sample"))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_sample_s_client_is_answered(shop: Kubectl) -> None:
    found = shop.json("--namespace", "shop", "get", "pods", "--selector=app=client")["items"]
    (pod,) = [each for each in found if "deletionTimestamp" not in each["metadata"]]
    assert pod["status"]["containerStatuses"][0]["ready"]


def test_jupyter_answers_with_the_token_and_refuses_without(notebook: Notebook) -> None:
    with forwarded(notebook) as port:
        assert Jupyter(port, notebook.token).status("/api/contents") == 200
        assert Jupyter(port, notebook.token).status("/lab") == 200
        for wrong in (None, "", "guess"):
            assert Jupyter(port, wrong).status("/api/contents") == 403
            assert Jupyter(port, wrong).status("/api/kernels") == 403
            assert Jupyter(port, wrong).status("/lab") == 302  # to the login
        assert Jupyter(port, None).status("/api") == 200  # what the probes ask


def test_jupyter_shows_the_project_s_notebooks(notebook: Notebook) -> None:
    with forwarded(notebook) as port:
        shown = Jupyter(port, notebook.token).ask("GET", "/api/contents/notebooks")["content"]
    shipped = {path.name for path in (DEPLOY.parent / "notebooks").glob("*.ipynb")}
    assert shipped <= {entry["name"] for entry in shown}


def test_jupyter_s_page_loads_nothing_from_other_hosts(notebook: Notebook) -> None:
    with forwarded(notebook) as port:
        page = Jupyter(port, notebook.token).page("/lab")
    loaded = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert loaded
    assert [address for address in loaded if not address.startswith("/") or address.startswith("//")] == []
    assert '"news": {"disabled": true}' in page
    assert '"name": "read-only"' in page  # the extension manager, which would ask a package index


def test_a_kernel_runs_as_an_ordinary_user_without_capabilities(notebook: Notebook) -> None:
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups()); print(open('/proc/self/status').read())"
    with forwarded(notebook) as port:
        printed = Jupyter(port, notebook.token).run(code)
    first, _, status = printed.partition("\n")
    assert first == "1000 1000 [1000]"
    assert masks(status) == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "CapBnd": MASK}
    assert "Seccomp:\t2" in status


def test_a_kernel_knows_the_token_by_no_variable(notebook: Notebook) -> None:
    with forwarded(notebook) as port:
        printed = Jupyter(port, notebook.token).run("import os; print(*os.environ.values(), sep='\\n')")
    assert "/etc/podtracer/login/token" in printed
    assert notebook.token not in printed


def test_no_process_of_the_notebook_has_a_capability(notebook: Notebook) -> None:
    found = statuses(notebook)
    assert any("jupyter" in words for words in found)
    for words, status in found.items():
        assert masks(status) == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "CapBnd": MASK}, words
        assert "Uid:\t1000\t1000\t1000\t1000" in status, words


def test_the_launcher_takes_exactly_the_five(notebook: Notebook) -> None:
    status = notebook.output(*LAUNCH, "cat", "/proc/self/status")
    assert masks(status) == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"), MASK)
    assert "Uid:\t1000\t1000\t1000\t1000" in status


@pytest.mark.parametrize("capability", ["net_admin", "sys_chroot", "dac_read_search", "kill"])
def test_the_launcher_cannot_take_more_than_the_container_may(notebook: Notebook, capability: str) -> None:
    words = ("podtracer-launcher", "--inh-caps", f"+{capability}", "--ambient-caps", f"+{capability}", "--", "true")
    done = notebook.execute(*words)
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_nothing_else_in_the_image_leads_to_privilege(notebook: Notebook) -> None:
    # find's own complaints are about folders of root's, in which nothing lies that an ordinary user could run.
    assert notebook.execute("find", "/", "-xdev", "-type", "f", "-perm", "/6000").stdout == ""
    (line,) = notebook.execute("getcap", "-r", "/usr", "/opt").stdout.splitlines()
    assert line.startswith("/usr/local/bin/podtracer-launcher ")
    assert line.endswith("=p")


def test_the_root_file_system_is_read_only(notebook: Notebook) -> None:
    for folder in ("/", "/etc", "/opt/podtracer", "/usr/local/bin", "/host/proc/self"):
        assert notebook.execute("touch", f"{folder}/written").returncode != 0
    for folder in ("/data", "/data/captures", "/data/notebooks", "/home/podtracer", "/tmp"):
        notebook.output("sh", "-c", f"touch {folder}/.written && rm {folder}/.written")
    assert "ro" in notebook.output("findmnt", "--noheadings", "--output=OPTIONS", "/").split(",")


def test_podtracer_is_there_with_its_compiled_dissector(notebook: Notebook) -> None:
    assert "dissector compiled" in notebook.output("podtracer", "version")


def test_another_pod_s_namespace_is_closed_to_the_user_and_open_to_the_launcher(
    notebook: Notebook, shop: Kubectl
) -> None:
    (pod,) = [each for each in web_pods(shop) if each["spec"]["nodeName"] == notebook.node]
    pid = host_pid(notebook, pod["metadata"]["uid"])
    namespace = f"/host/proc/{pid}/ns/net"
    assert "Permission denied" in notebook.execute("nsenter", f"--net={namespace}", "true").stderr
    addresses = notebook.output(*LAUNCH, "nsenter", f"--net={namespace}", "ip", "-brief", "address", "show", "eth0")
    assert f"{pod['status']['podIP']}/" in addresses
    sockets = notebook.output(*LAUNCH, "nsenter", f"--net={namespace}", "ss", "-tln")
    assert ":8080" in sockets


def test_packets_of_another_pod_are_captured_onto_the_volume(notebook: Notebook, shop: Kubectl) -> None:
    (pod,) = [each for each in web_pods(shop) if each["spec"]["nodeName"] == notebook.node]
    pid = host_pid(notebook, pod["metadata"]["uid"])
    # The kubelet's readiness probe asks this port every 5 s, the client that asks one of the pods twice a second.
    told = notebook.execute(
        *(*LAUNCH, "nsenter", f"--net=/host/proc/{pid}/ns/net", "timeout", "30"),
        *("tcpdump", "-n", "-i", "eth0", "-c", "5", "-w", "/data/captures/by-hand.pcap", "tcp", "port", "8080"),
    )
    assert "5 packets captured" in told.stderr
    assert notebook.output("stat", "--format=%u", "/data/captures/by-hand.pcap") == "1000\n"
    assert notebook.output("tcpdump", "-n", "-r", "/data/captures/by-hand.pcap").count(".8080") == 5


def test_the_account_may_look_for_pods_and_nothing_else(notebook: Notebook) -> None:
    account = "--as=system:serviceaccount:podtracer:podtracer"
    for question, answer in {
        "list pods": "yes",
        "watch pods": "no",
        "get services": "yes",
        "list namespaces": "yes",
        "create pods": "no",
        "create pods/exec": "no",
        "get secrets": "no",
        "get nodes/proxy": "no",
        "list nodes": "no",
        "delete pods": "no",
        "patch namespaces": "no",
        "create rolebindings.rbac.authorization.k8s.io": "no",
    }.items():
        words = question.split()
        done = notebook.kubectl.run("auth", "can-i", *words, "--all-namespaces", account)
        assert done.stdout.strip() == answer, question


def test_what_the_user_wrote_outlives_the_pod(notebook: Notebook) -> None:
    shipped = notebook.output("sh", "-c", "ls /opt/podtracer/notebooks/*.ipynb").split()[0].rpartition("/")[2]
    notebook.output("sh", "-c", f"echo mine > /data/notebooks/{shipped}; echo bytes > /data/captures/mine.pcap")
    where = ("--namespace", notebook.namespace)
    before = notebook.kubectl.json(*where, "get", "pod", notebook.name)["metadata"]["uid"]
    notebook.kubectl(*where, "delete", "pod", notebook.name, "--wait=true")

    def again() -> bool:
        done = notebook.kubectl.run(*where, "get", "pod", notebook.name, "--output=json")
        if done.returncode != 0:
            return False
        pod = json.loads(done.stdout)
        ready = any(each["ready"] for each in pod["status"].get("containerStatuses", []))
        return bool(pod["metadata"]["uid"] != before and ready)

    wait_for("a new pod", again, 120)
    assert notebook.output("cat", f"/data/notebooks/{shipped}") == "mine\n"
    assert notebook.output("cat", "/data/captures/mine.pcap") == "bytes\n"
