"""What kustomize makes of each overlay: rights, security contexts, probes and resources as decided."""

from __future__ import annotations

import pytest

from podtracer_nb import options
from tests.deploy.manifests import DEPLOY, FIVE, OVERLAYS, Document, containers, kustomize, pick, pod_specs
from tests.machine import needs

pytestmark = needs("kubectl")

READING = {"pods": {"get", "list"}, "services": {"get", "list"}, "namespaces": {"get", "list"}}
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
FOLDERS = ["base", "sample", "collector", *(f"overlays/{name}" for name in OVERLAYS)]
every_folder = pytest.mark.parametrize("folder", FOLDERS)


def notebook(overlay: str) -> tuple[Document, Document]:
    """Return the notebook's pod specification and its container."""
    specification = pick(kustomize(DEPLOY / "overlays" / overlay), "StatefulSet")["spec"]["template"]["spec"]
    (container,) = specification["containers"]
    return specification, container


@every_folder
def test_no_rule_is_wide(folder: str) -> None:
    roles = [each for each in kustomize(DEPLOY / folder) if each["kind"] in ("Role", "ClusterRole")]
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"secrets", "nodes", "nodes/proxy"} & set(rule["resources"])
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert "nonResourceURLs" not in rule


@every_folder
def test_no_binding_names_a_role_that_is_not_ours(folder: str) -> None:
    made = kustomize(DEPLOY / folder)
    ours = {(each["kind"], each["metadata"]["name"]) for each in made if each["kind"] in ("Role", "ClusterRole")}
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"])
        for each in made
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding")
    }
    assert bound == ours


@pytest.mark.parametrize("overlay", ["capabilities", "privileged", "openshift"])
def test_the_notebook_may_look_for_pods_and_nothing_else(overlay: str) -> None:
    rules = pick(kustomize(DEPLOY / "overlays" / overlay), "ClusterRole")["rules"]
    assert {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]} == READING


def test_a_job_may_look_for_pods_and_a_schedule_may_make_jobs_besides() -> None:
    made = kustomize(DEPLOY / "overlays/capabilities")
    bound: dict[str, set[tuple[str, str]]] = {}
    for each in made:
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            for subject in each["subjects"]:
                bound.setdefault(subject["name"], set()).add((each["roleRef"]["kind"], each["roleRef"]["name"]))
    assert bound["podtracer-job"] == {("ClusterRole", "podtracer")}
    assert bound["podtracer-schedule"] == {("ClusterRole", "podtracer"), ("Role", "podtracer-schedule")}
    assert pick(made, "Role", "podtracer-schedule")["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list"]},
    ]


def test_in_one_namespace_there_is_no_right_to_the_whole_cluster() -> None:
    made = kustomize(DEPLOY / "overlays/one-namespace")
    assert not [each for each in made if each["kind"].startswith("ClusterRole")]
    roles = {each["metadata"]["name"]: each for each in made if each["kind"] == "Role"}
    where = {name: role["metadata"]["namespace"] for name, role in roles.items()}
    assert where == {"podtracer": "shop", "podtracer-tracers": "podtracer", "podtracer-schedule": "podtracer"}
    bound = {each["roleRef"]["name"]: each for each in made if each["kind"] == "RoleBinding"}
    assert {name: binding["metadata"]["namespace"] for name, binding in bound.items()} == where
    rules = roles["podtracer"]["rules"]
    assert {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]} == {
        kind: READING[kind] for kind in ("pods", "services")
    }


@pytest.mark.parametrize("overlay", ["capabilities", "openshift", "one-namespace"])
def test_the_notebook_is_an_ordinary_user_bounded_by_five_capabilities(overlay: str) -> None:
    specification, container = notebook(overlay)
    pod = specification["securityContext"]
    assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"], pod["runAsNonRoot"]) == (1000, 1000, 1000, True)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    if overlay == "openshift":
        assert "appArmorProfile" not in pod
        assert pod["seLinuxOptions"] == {"type": "spc_t"}
    else:
        assert pod["appArmorProfile"] == {"type": "Unconfined"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": True,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": FIVE},
    }
    assert (specification["hostPID"], specification["hostNetwork"]) == (False, False)
    assert host_paths(specification) == {"/proc"}
    assert mounts(container)["/host/proc"]["readOnly"] is True


def test_the_privileged_overlay_is_privileged() -> None:
    specification, container = notebook("privileged")
    assert specification["securityContext"] == {"runAsUser": 0, "runAsGroup": 0}
    assert container["securityContext"] == {"privileged": True}
    assert specification["hostPID"] is True
    assert host_paths(specification) == {"/proc", "/run"}
    assert mounts(container)["/host/run"]["mountPropagation"] == "HostToContainer"
    assert environment(container)["PODTRACER_HOST_ROOT"] == {"value": "/host"}


def test_the_base_by_itself_gives_no_privilege() -> None:
    specification = pick(kustomize(DEPLOY / "base"), "StatefulSet")["spec"]["template"]["spec"]
    (container,) = specification["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert host_paths(specification) == set()


@every_overlay
def test_the_notebook_knows_where_it_is(overlay: str) -> None:
    _, container = notebook(overlay)
    given = environment(container)
    assert {
        name: given[name]["valueFrom"]["fieldRef"]["fieldPath"] for name in given if "valueFrom" in given[name]
    } == {
        "PODTRACER_NODE_NAME": "spec.nodeName",
        "PODTRACER_POD_NAME": "metadata.name",
        "PODTRACER_POD_NAMESPACE": "metadata.namespace",
        "PODTRACER_POD_UID": "metadata.uid",
    }
    assert given["PODTRACER_RECORDINGS"] == {"value": "/data/captures"}


@every_overlay
def test_notebooks_and_captures_are_kept_on_a_claim(overlay: str) -> None:
    stateful = pick(kustomize(DEPLOY / "overlays" / overlay), "StatefulSet")["spec"]
    (claim,) = stateful["volumeClaimTemplates"]
    (container,) = stateful["template"]["spec"]["containers"]
    assert mounts(container)["/data"]["name"] == claim["metadata"]["name"]
    assert "storageClassName" not in claim["spec"]


@every_overlay
def test_the_token_comes_as_a_file_from_the_secret_and_not_through_the_environment(overlay: str) -> None:
    specification, container = notebook(overlay)
    (login,) = [volume for volume in specification["volumes"] if "secret" in volume]
    assert login["secret"]["secretName"] == "podtracer-token"
    assert login["secret"]["defaultMode"] == 0o440
    assert not login["secret"].get("optional", False)
    assert not [name for name, entry in environment(container).items() if "secretKeyRef" in entry.get("valueFrom", {})]
    folder = mounts(container)[str(environment(container)["JUPYTER_TOKEN_FILE"]["value"]).rpartition("/")[0]]
    assert (folder["name"], folder["readOnly"]) == (login["name"], True)


@every_folder
def test_every_container_has_probes_resources_and_an_image_of_a_version(folder: str) -> None:
    found = list(pod_specs(kustomize(DEPLOY / folder)))
    assert found
    for name, specification in found:
        for container in containers(specification):
            assert {"readinessProbe", "livenessProbe"} <= set(container), name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert container["imagePullPolicy"] == "IfNotPresent", name
            assert container["image"].rpartition(":")[2] not in ("latest", "", container["image"]), name


@every_overlay
def test_the_namespace_admits_what_podtracer_needs(overlay: str) -> None:
    labels = pick(kustomize(DEPLOY / "overlays" / overlay), "Namespace")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "privileged"


@every_overlay
def test_all_but_the_namespace_goes_by_our_label_when_it_is_deleted(overlay: str) -> None:
    made = kustomize(DEPLOY / "overlays" / overlay)
    bare = [
        each["kind"]
        for each in made
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "podtracer-nb"
    ]
    assert bare == ["Namespace"]


@every_overlay
def test_jupyter_is_reached_from_its_own_namespace_only(overlay: str) -> None:
    made = kustomize(DEPLOY / "overlays" / overlay)
    closed = pick(made, "NetworkPolicy", "default-deny")["spec"]
    assert (closed["podSelector"], closed["policyTypes"]) == ({}, ["Ingress", "Egress"])
    (entry,) = pick(made, "NetworkPolicy", "notebook")["spec"]["ingress"]
    assert entry == {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 8888}]}
    assert pick(made, "Service")["spec"]["clusterIP"] == "None"


def test_the_collector_has_no_right_and_no_capability_and_lets_nobody_in_without_a_certificate() -> None:
    made = kustomize(DEPLOY / "collector")
    assert not [each["kind"] for each in made if each["kind"].endswith(("Role", "RoleBinding"))]
    assert pick(made, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    ((_, specification),) = pod_specs(made)
    (container,) = specification["containers"]
    assert specification["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert host_paths(specification) == set()
    request = options.parse([word for word in container["command"] if word not in ("tini", "--", "podtracer")])
    assert isinstance(request, options.CollectRequest)
    assert not request.insecure and request.token_file and request.client_ca
    (policy,) = [each["spec"] for each in made if each["kind"] == "NetworkPolicy"]
    assert (policy["podSelector"], policy["policyTypes"], policy.get("egress")) == ({}, ["Ingress", "Egress"], None)


def test_the_sample_s_pods_are_as_strict_as_pods_can_be() -> None:
    made = kustomize(DEPLOY / "sample")
    assert pick(made, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {name for name, _ in pod_specs(made)} == {"web", "client"}


def host_paths(specification: Document) -> set[str]:
    return {volume["hostPath"]["path"] for volume in specification["volumes"] if "hostPath" in volume}


def mounts(container: Document) -> dict[str, Document]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def environment(container: Document) -> dict[str, Document]:
    return {each["name"]: {word: value for word, value in each.items() if word != "name"} for each in container["env"]}
