"""The Python client against the cluster of KUBECONFIG. Prints "ok" when all of it was as a cluster does it."""

from kubernetes import client, config, watch

NAMESPACE = "python"

config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
custom = client.CustomObjectsApi()


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def pod(command=None):
    container = client.V1Container(name="main", image="busybox:1.37", command=command)
    restart = "Never" if command else "Always"
    return client.V1PodSpec(containers=[container], restart_policy=restart)


def refused(status, call, *arguments):
    try:
        call(*arguments)
    except client.ApiException as error:
        assert error.status == status, (error.status, status)
    else:
        raise AssertionError(f"expected {status}")


core.create_namespace(client.V1Namespace(metadata=meta(NAMESPACE)))
assert len(core.list_node().items) == 3

# Write, read, change, and the errors there are.
made = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta("c"), data={"a": "1"}))
made.data["a"] = "2"
assert core.replace_namespaced_config_map("c", NAMESPACE, made).data == {"a": "2"}
refused(409, core.replace_namespaced_config_map, "c", NAMESPACE, made)
assert core.patch_namespaced_config_map("c", NAMESPACE, {"data": {"b": "3"}}).data == {"a": "2", "b": "3"}
refused(409, core.create_namespaced_config_map, NAMESPACE, client.V1ConfigMap(metadata=meta("c")))
refused(404, core.read_namespaced_config_map, "none", NAMESPACE)

# A Deployment comes up, and is watched doing so.
labels = {"app": "web"}
template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod())
spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=meta("web"), spec=spec))
for event in watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=120):
    if event["object"].status.available_replicas == 2:
        break
else:
    raise AssertionError("the Deployment did not come up")
assert len(core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items) == 2

# A Job ends.
job = client.V1JobSpec(template=client.V1PodTemplateSpec(spec=pod(["sleep", "2"])))
batch.create_namespaced_job(NAMESPACE, client.V1Job(metadata=meta("work"), spec=job))
for event in watch.Watch().stream(batch.list_namespaced_job, NAMESPACE, timeout_seconds=120):
    if event["object"].status.succeeded == 1:
        break
else:
    raise AssertionError("the Job did not end")

# Pages.
for i in range(25):
    core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta(f"p-{i:02}", labels={"page": "y"})))
seen, after = [], None
while True:
    page = core.list_namespaced_config_map(NAMESPACE, label_selector="page=y", limit=10, _continue=after)
    seen += [item.metadata.name for item in page.items]
    after = page.metadata._continue
    if not after:
        break
assert seen == [f"p-{i:02}" for i in range(25)], seen

# A kind of one's own.
schema = client.V1JSONSchemaProps(
    type="object", properties={"spec": client.V1JSONSchemaProps(
        type="object", properties={"size": client.V1JSONSchemaProps(type="integer", minimum=1)})})
version = client.V1CustomResourceDefinitionVersion(
    name="v1", served=True, storage=True,
    schema=client.V1CustomResourceValidation(open_apiv3_schema=schema))
names = client.V1CustomResourceDefinitionNames(plural="hats", singular="hat", kind="Hat")
definition = client.V1CustomResourceDefinition(
    metadata=meta("hats.python.example.org"),
    spec=client.V1CustomResourceDefinitionSpec(
        group="python.example.org", names=names, scope="Namespaced", versions=[version]))
client.ApiextensionsV1Api().create_custom_resource_definition(definition)
hat = {"apiVersion": "python.example.org/v1", "kind": "Hat", "metadata": {"name": "h"}, "spec": {"size": 3}}
place = ("python.example.org", "v1", NAMESPACE, "hats")
assert custom.create_namespaced_custom_object(*place, hat)["spec"] == {"size": 3}
bad = dict(hat, metadata={"name": "bad"}, spec={"size": 0})
refused(422, custom.create_namespaced_custom_object, *place, bad)

core.delete_namespace(NAMESPACE)
print("ok")
