"""Holds manifests against Kubernetes' own schemas, and against what we expect of ours:
manifests.py FILE"""

import sys

import kubernetes_validate
import yaml

# The oldest that is still supported, and the newest that the package knows.
VERSIONS = ["1.34", kubernetes_validate.latest_version()]
errors = []
manifests = list(yaml.safe_load_all(open(sys.argv[1], encoding="utf-8")))


def pod_of_broker(spec):
    pod = spec["override"]["statefulSet"]["spec"]["template"]["spec"]
    pod["affinity"] = spec["affinity"]
    pod["containers"][0].update(image=spec["image"], resources=spec["resources"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "broker"}, "spec": pod}


for manifest in manifests:
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    if manifest["apiVersion"].startswith("rabbitmq.com/"):
        # The operator's own schema is in no package; its parts that are Kubernetes' are a pod's.
        if manifest["spec"]["replicas"] != 3:
            errors.append(f"{name}: the broker has three nodes")
        manifest = pod_of_broker(manifest["spec"])
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            errors.append(f"{name}, {version}: {error.message}")


def pods(manifest):
    return manifest["spec"]["template"]["spec"]


def named(kind):
    return {m["metadata"]["name"].removeprefix("connector-details-"): m for m in manifests if m["kind"] == kind}


deployments = named("Deployment")
secrets = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Secret"}
for name in ["gateway", "worker"]:
    if deployments[name]["spec"]["replicas"] != 2:
        errors.append(f"{name}: two of each")
    if name not in named("PodDisruptionBudget"):
        errors.append(f"{name}: no disruption budget")
for manifest in [*deployments.values(), *named("Job").values()]:
    pod = pods(manifest)
    name = manifest["metadata"]["name"]
    secret = secrets[pod["volumes"][0]["secret"]["secretName"]]
    for container in pod["containers"]:
        if not container["securityContext"]["readOnlyRootFilesystem"] or not pod["securityContext"]["runAsNonRoot"]:
            errors.append(f"{name}: it writes nothing, and is not root")
        if "memory" not in container["resources"]["limits"]:
            errors.append(f"{name}: no limit of memory")
        for variable in container["env"]:
            if variable["name"].endswith("_FILE"):
                key = variable["value"].removeprefix("/secrets/")
                if key not in secret["data"]:
                    errors.append(f"{name}: {variable['name']} names a file that no secret has")
        if manifest["kind"] == "Deployment":
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                if probe not in container:
                    errors.append(f"{name}: no {probe}")

print("\n".join(errors) or "the manifests are valid")
sys.exit(1 if errors else 0)
