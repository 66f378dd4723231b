"""What is deployed: the template after SAM's transformation, for every condition, with the limits of the services that it creates."""

import io
import json
import re
import zipfile
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter

import boto3
import cfnlint.api
import pytest
import tomllib
from moto import mock_aws

from deployed import ROOT, TEMPLATE, Stack, dependencies, references, source, transformed
from gradual import ALARMS, gradual

ARN = "arn:aws:{}:us-east-1:123456789012:{}"
SECRETS = {
    "PocketBaseSecretArn": ARN.format("secretsmanager", "secret:identivia/pocketbase-a1B2c3"),
    "SecretsArn": ARN.format("secretsmanager", "secret:identivia/production-d4E5f6"),
}
CLIENTS = [
    {"client_id": f"client-{n}", "client_secret": "s" * 43, "team_id": f"team_{n}", "scopes": ["profiles:read", "profiles:write"]}
    for n in range(10)
]
# Without Secrets Manager, with values as long as real ones.
PARAMETERS = {
    "PocketBaseUrl": "https://pocketbase.production.example.com",
    "PocketBaseUserEmail": "identivia-functions@example.com",
    "PocketBaseUserPassword": "p" * 40,
    "PocketBaseAuthToken": "t" * 250,
    "JwtSecret": "j" * 64,
    "JwtSecretPrevious": "j" * 64,
    "JwtClientsJson": json.dumps(CLIENTS, separators=(",", ":")),
    "ValidApiKeys": ",".join(["k" * 43] * 10),
}
# What makes each condition true. The other parameters keep their defaults, which make it false.
CONDITIONS = {
    "HasPocketBaseSecret": SECRETS,
    "HasSecrets": SECRETS,
    "HasSecretsKmsKey": SECRETS | {"SecretsKmsKeyArn": ARN.format("kms", "key/51af3dc0-da77-11e4-872e-1234567db123")},
    "HasOpenAiApiKey": {"OpenAiApiKey": "sk-" + "o" * 160},
    "HasFingerprintSecretKey": {"FingerprintSecretKey": "f" * 20},
    "HasOtherClientUrl": {"ClientUrl": "https://onboarding.example.com/start/"},
    "HasAllowedOrigins": {"AllowedOrigins": "https://a.example.com,https://b.example.com"},
    "HasLocalhostOrigin": {"AllowLocalhostOrigin": "true"},
    "HasVpc": {"VpcSubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1", "VpcSecurityGroupIds": "sg-0123456789abcdef0"},
    "HasDomainName": {
        "DomainName": "kyc.example.com",
        "CertificateArn": ARN.format("acm", "certificate/51af3dc0-da77-11e4-872e-1234567db123"),
    },
    "HasHostedZone": {
        "DomainName": "kyc.example.com",
        "CertificateArn": ARN.format("acm", "certificate/51af3dc0-da77-11e4-872e-1234567db123"),
        "HostedZoneId": "Z0123456789ABCDEFGHIJ",
    },
    "DisablesDefaultEndpoint": {
        "DomainName": "kyc.example.com",
        "CertificateArn": ARN.format("acm", "certificate/51af3dc0-da77-11e4-872e-1234567db123"),
        "DisableDefaultEndpoint": "true",
    },
    "HasAlarmTopic": {"AlarmTopicArn": ARN.format("sns", "identivia-alarms")},
    "HasKmsKey": {"KmsKeyArn": ARN.format("kms", "key/51af3dc0-da77-11e4-872e-1234567db123")},
    "ReservesConcurrency": {"ReserveConcurrency": "true"},
}
ALL = {name: value for parameters in CONDITIONS.values() for name, value in parameters.items()} | {"Tracing": "Active"}
VARIANTS = {
    "defaults": PARAMETERS,
    "everything": PARAMETERS | ALL,
    **{f"only {name}": PARAMETERS | parameters for name, parameters in CONDITIONS.items()},
    **{
        f"all but {name}": PARAMETERS | {key: value for key, value in ALL.items() if key not in parameters}
        for name, parameters in CONDITIONS.items()
    },
}


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "-"))
def stack(request):
    return Stack(VARIANTS[request.param])


@pytest.fixture(scope="module")
def defaults():
    return Stack(PARAMETERS)


@pytest.fixture(scope="module")
def everything():
    return Stack(PARAMETERS | ALL)


def api(stack):
    return stack.resources["Api"]["Properties"]["Body"]


def routes(stack):
    """The route keys of the API, with the logical id of the function that each invokes."""
    found = {}
    for path, methods in api(stack)["paths"].items():
        for method, operation in methods.items():
            uri = json.dumps(operation["x-amazon-apigateway-integration"]["uri"])
            found[path if path == "$default" else f"{method.upper()} {path}"] = re.search(r"(\w+Function)\.Arn", uri)[1]
    return found


def test_every_condition_is_tested():
    conditions = set(source()["Conditions"])
    assert conditions <= set(CONDITIONS)
    for name, parameters in CONDITIONS.items():
        if name in conditions:
            assert Stack(PARAMETERS | parameters).condition(name), name
            assert not Stack(PARAMETERS).condition(name), name


def test_the_values_of_the_tests_are_allowed():
    declared = source()["Parameters"]
    for name, value in (PARAMETERS | ALL).items():
        assert re.fullmatch(declared[name].get("AllowedPattern", ".*"), value), name
        assert value in map(str, declared[name].get("AllowedValues", [value])), name


def test_the_whole_cors_configuration_is_deployed(stack):
    origins = ["https://app.identivia.com", "https://demo.identivia.com"]
    if stack.condition("HasOtherClientUrl"):
        origins.append("https://onboarding.example.com")
    if stack.condition("HasAllowedOrigins"):
        origins += ["https://a.example.com", "https://b.example.com"]
    if stack.condition("HasLocalhostOrigin"):
        origins.append("http://localhost:3000")
    assert api(stack)["x-amazon-apigateway-cors"] == {
        "allowOrigins": origins,
        "allowMethods": ["GET", "POST", "PATCH"],
        "allowHeaders": ["authorization", "content-type", "idempotency-key", "x-api-key"],
        "exposeHeaders": ["retry-after", "www-authenticate", "x-request-id"],
        "maxAge": 600,
    }
    own = [{"Fn::Sub": "https://${Api}.execute-api.us-east-1.amazonaws.com"}]
    if stack.condition("HasDomainName"):
        own.append("https://kyc.example.com")
    rules = stack.resources["UploadsBucket"]["Properties"]["CorsConfiguration"]["CorsRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [own, origins]
    assert all(rule["AllowedMethods"] == ["POST"] for rule in rules)


@pytest.mark.parametrize(
    ("client_url", "origins"),
    [
        ("https://app.identivia.com", []),
        ("https://app.identivia.com/start", []),
        ("https://demo.identivia.com/", []),
        ("https://kyc.example.com", ["https://kyc.example.com"]),
        ("http://localhost:5173/a/b?c", ["http://localhost:5173"]),
    ],
)
def test_the_origin_of_the_client_url_is_a_cors_origin_once(client_url, origins):
    stack = Stack(PARAMETERS | {"ClientUrl": client_url})
    expected = ["https://app.identivia.com", "https://demo.identivia.com", *origins]
    assert api(stack)["x-amazon-apigateway-cors"]["allowOrigins"] == expected


def test_every_setting_of_a_route_is_of_a_route_that_exists(stack):
    settings = stack.resources["ApiApiGatewayDefaultStage"]["Properties"]["RouteSettings"]
    assert len(settings) > 5
    assert set(settings) <= set(routes(stack))


def test_the_default_endpoint_can_be_disabled(stack):
    (server,) = api(stack)["servers"]
    configuration = server["x-amazon-apigateway-endpoint-configuration"]
    assert configuration == {"disableExecuteApiEndpoint": stack.condition("DisablesDefaultEndpoint")}


def test_no_route_ends_in_a_slash(stack):
    assert [route for route in routes(stack) if route.endswith("/") and route != "GET /"] == []


def test_api_gateway_may_invoke_the_function_of_each_route_and_no_other(stack):
    prefix = "${__ApiId__}/*/"
    allowed = set()
    for permission in stack.of_type("AWS::Lambda::Permission").values():
        if permission["Principal"] == "apigateway.amazonaws.com":
            source_arn = permission["SourceArn"]["Fn::Sub"][0].partition(prefix)[2]
            allowed.add((permission["FunctionName"]["Ref"], source_arn))
    needed = set()
    for route, function in routes(stack).items():
        method, _, path = route.partition(" ")
        needed.add((function, "*" if route == "$default" else method + re.sub(r"\{[^}]+\}", "*", path)))
    assert allowed == needed


def test_nothing_refers_to_what_is_not_created(stack):
    created = set(stack.resources) | set(stack.values)
    for name, item in {**stack.resources, **stack.outputs}.items():
        # SAM's own names in permissions.
        missing = references(item) - created - {"__ApiId__", "__Stage__"}
        assert not missing, f"{name} refers to {missing}"


def test_no_resource_depends_on_itself(stack):
    # Raises CycleError.
    list(TopologicalSorter(dict(dependencies(stack.resources))).static_order())


def test_environments_are_smaller_than_lambda_allows(stack):
    def length(value):
        # The longest ARN of a role, and the URL of a queue.
        return len(value) if isinstance(value, str) else 140

    for name, function in stack.of_type("AWS::Lambda::Function").items():
        variables = function["Environment"]["Variables"]
        assert sum(len(key) + length(value) for key, value in variables.items()) < 4_096, name


def test_the_stack_is_within_the_limits_of_cloudformation_and_iam(stack):
    template = stack.template
    assert len(template["Resources"]) <= 500
    assert len(template["Parameters"]) <= 200 and len(template["Outputs"]) <= 200
    assert len(json.dumps(template)) <= 1_000_000
    for name, role in stack.of_type("AWS::IAM::Role").items():
        assert len(role.get("ManagedPolicyArns", [])) <= 10, name
        inline = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
        assert len(json.dumps(inline, separators=(",", ":"))) <= 10_240, name
    for name, policy in stack.of_type("AWS::IAM::ManagedPolicy").items():
        assert len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) <= 6_144 - 500, name


def test_the_bucket_has_a_valid_name_whatever_the_name_of_the_stack(stack):
    name = stack.resources["UploadsBucket"]["Properties"]["BucketName"]
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)
    # Policies and variables compute it too.
    text = json.dumps(stack.resources)
    assert set(re.findall(r"identivia-uploads-[^/\"]*", text)) == {name}
    bucket = stack.resources["UploadsBucket"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_bucket_is_private_encrypted_and_emptied(stack):
    bucket = stack.resources["UploadsBucket"]["Properties"]
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4 and all(bucket["PublicAccessBlockConfiguration"].values())
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    algorithm = encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
    assert algorithm == ("aws:kms" if stack.condition("HasKmsKey") else "AES256")
    rules = {rule["Prefix"]: (rule["Status"], rule["ExpirationInDays"]) for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules == {"people/": ("Enabled", stack.values["RetentionDays"]), "redactions/": ("Enabled", 400)}
    (statement,) = stack.resources["UploadsBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_every_function_is_bounded_and_logs_to_the_stacks_log_group(stack):
    functions = stack.of_type("AWS::Lambda::Function")
    for name, function in functions.items():
        assert function["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": {"Ref": "Logs"}}, name
        assert stack.resources[f"{name}Role"]["Properties"]["PermissionsBoundary"] == {"Ref": "FunctionBoundary"}, name
        assert ("VpcConfig" in function) == stack.condition("HasVpc"), name


def test_messages_outlast_an_outage(stack):
    (queue,) = stack.of_type("AWS::SQS::Queue").values()
    assert queue["MessageRetentionPeriod"] >= 12 * 3_600 and "RedrivePolicy" not in queue


def statements(document):
    """(action, resource) of each statement of a policy."""
    for statement in document["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        for action in actions if isinstance(actions, list) else [actions]:
            for resource in resources if isinstance(resources, list) else [resources]:
                yield action, json.dumps(resource)


def test_the_boundary_permits_what_the_policies_allow(stack):
    managed = stack.of_type("AWS::IAM::ManagedPolicy")
    boundary = list(statements(managed.pop("FunctionBoundary")["PolicyDocument"]))
    documents = [policy["PolicyDocument"] for policy in managed.values()]
    documents += [policy["PolicyDocument"] for policy in stack.of_type("AWS::IAM::Policy").values()]
    for name in stack.of_type("AWS::Lambda::Function"):
        documents += [policy["PolicyDocument"] for policy in stack.resources[f"{name}Role"]["Properties"].get("Policies", [])]
    needed = {pair for document in documents for pair in statements(document)}
    # What SAM's own policies are attached for.
    queue, logs = json.dumps({"Fn::GetAtt": ["WebhookQueue", "Arn"]}), json.dumps({"Fn::GetAtt": ["Logs", "Arn"]})
    needed |= {(f"logs:{action}", logs) for action in ("CreateLogStream", "PutLogEvents")}
    needed |= {(f"sqs:{action}", queue) for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")}
    needed |= {(f"xray:{action}", '"*"') for action in ("PutTraceSegments", "PutTelemetryRecords")}
    if stack.condition("HasVpc"):
        needed |= {(f"ec2:{action}", '"*"') for action in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DeleteNetworkInterface")}
    for action, resource in needed:
        limits = [limit for permitted, limit in boundary if permitted == action]
        assert any(limit in ('"*"', resource) or fnmatchcase(resource, limit) for limit in limits), f"{action} {resource}"


def test_concurrency_is_reserved_for_tokens_and_webhooks(stack):
    functions = stack.of_type("AWS::Lambda::Function")
    reserved = {name: item["ReservedConcurrentExecutions"] for name, item in functions.items() if "ReservedConcurrentExecutions" in item}
    expected = {"IssueTokenFunction": 20, "DeliverWebhookFunction": 10, "SweepWebhooksFunction": 5}
    assert reserved == (expected if stack.condition("ReservesConcurrency") else {})


def test_the_domain_name_leads_to_the_api(stack):
    assert ("ApiMapping" in stack.resources) == ("ApiDomainName" in stack.resources) == stack.condition("HasDomainName")
    assert ("ApiRecord" in stack.resources) == stack.condition("HasHostedZone")
    own = {"Fn::Sub": "https://${Api}.execute-api.us-east-1.amazonaws.com"}
    assert stack.outputs["ApiUrl"]["Value"] == ("https://kyc.example.com" if stack.condition("HasDomainName") else own)


def test_operators_are_told_where_everything_is(stack):
    assert {"ApiUrl", "PageUrl", "UploadsBucket", "WebhookQueueUrl", "LogGroup", "DashboardUrl"} <= set(stack.outputs)


def test_the_customer_managed_key_encrypts_bucket_queue_and_logs(stack):
    text = json.dumps([stack.resources[name] for name in ("UploadsBucket", "WebhookQueue", "Logs")])
    assert text.count(CONDITIONS["HasKmsKey"]["KmsKeyArn"]) == (3 if stack.condition("HasKmsKey") else 0)


def test_one_architecture_is_offered_with_the_layer_that_fits(stack):
    layers = stack.of_type("AWS::Lambda::LayerVersion").values()
    assert [layer["CompatibleArchitectures"] for layer in layers] == [["x86_64"]]
    assert all(function["Architectures"] == ["x86_64"] for function in stack.of_type("AWS::Lambda::Function").values())


@pytest.mark.parametrize("parameters", [PARAMETERS, PARAMETERS | ALL], ids=["defaults", "everything"])
def test_cfn_lint_finds_nothing_in_what_is_deployed(parameters):
    found = cfnlint.api.lint_all(json.dumps(transformed(parameters)))
    # Rules that begin with I inform. SAM itself evaluates Tracing, and leaves it out where it is Disabled.
    ignored = ("I", "W1030 {'Ref': 'Tracing'}", "W2001 Parameter Tracing")
    assert [text for match in found if not (text := f"{match.rule.id} {match.message}").startswith(ignored)] == []


# What moto's CloudFormation cannot create: it knows no body of an HTTP API.
NOT_IN_MOTO = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::ApiMapping",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::ApiGatewayV2::Stage",
    "AWS::Route53::RecordSet",
}


@pytest.mark.parametrize("parameters", [PARAMETERS, PARAMETERS | ALL], ids=["defaults", "everything"])
@mock_aws(config={"lambda": {"use_docker": False}})
def test_cloudformation_creates_the_stack(parameters):
    stack = Stack(parameters)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("bootstrap", "")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="packages")
    for item in stack.resources.values():
        package = item.get("Properties", {}).get("Code") or item.get("Properties", {}).get("Content")
        if package:
            s3.put_object(Bucket="packages", Key=package["S3Key"], Body=archive.getvalue())
    bucket = stack.resources["UploadsBucket"]["Properties"]
    # It refers to the API.
    bucket.pop("CorsConfiguration")
    resources = {name: item for name, item in stack.resources.items() if item["Type"] not in NOT_IN_MOTO}
    while dependent := {name for name, item in resources.items() if references(item) & (set(stack.resources) - set(resources))}:
        resources = {name: item for name, item in resources.items() if name not in dependent}
    assert len(resources) > len(stack.resources) / 2
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName="identivia", TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_IAM"])
    (created,) = cloudformation.describe_stacks(StackName="identivia")["Stacks"]
    assert created["StackStatus"] == "CREATE_COMPLETE"
    functions = {item["FunctionName"] for page in boto3.client("lambda").get_paginator("list_functions").paginate() for item in page["Functions"]}
    assert len(functions) == len(stack.of_type("AWS::Lambda::Function"))
    roles = {item["RoleName"] for item in boto3.client("iam").list_roles(MaxItems=200)["Roles"]}
    assert len(roles) == len(stack.of_type("AWS::IAM::Role"))
    (uploads,) = [item["Name"] for item in s3.list_buckets()["Buckets"] if item["Name"] != "packages"]
    assert uploads == bucket["BucketName"]


def alarms(stack):
    return stack.of_type("AWS::CloudWatch::Alarm")


def sources():
    """The code of the functions and the crates that they share."""
    files = [path for folder in ("functions", "shared") for path in (ROOT / folder).rglob("*.rs")]
    return "\n".join(path.read_text() for path in files)


def test_every_alarm_has_a_section_in_the_runbook(everything):
    sections = re.findall(r"(?m)^## (\w+)$", (ROOT / "docs/runbook.md").read_text())
    assert sections == [name.removesuffix("Alarm") for name in alarms(everything)]


def test_alarms_notify_the_topic_if_there_is_one(defaults, everything):
    assert not any("AlarmActions" in alarm or "OKActions" in alarm for alarm in alarms(defaults).values())
    for alarm in alarms(everything).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [ALL["AlarmTopicArn"]]


def test_alarms_are_on_metrics_that_exist(everything):
    namespace = "Identivia/Identivia-production"
    recorded = set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(\w+)"', sources()))
    filtered = set()
    for metric_filter in everything.of_type("AWS::Logs::MetricFilter").values():
        (transformation,) = metric_filter["MetricTransformations"]
        assert transformation["MetricNamespace"] == namespace
        filtered.add(transformation["MetricName"])
    stats = [metric["MetricStat"]["Metric"] for alarm in alarms(everything).values() for metric in alarm.get("Metrics", []) if "MetricStat" in metric]
    used = [alarm for alarm in alarms(everything).values() if "Metrics" not in alarm] + stats
    own = {metric["MetricName"] for metric in used if metric["Namespace"] == namespace}
    assert own <= recorded | filtered and filtered <= own
    assert {metric["Namespace"] for metric in used} == {namespace, "AWS/ApiGateway", "AWS/Lambda", "AWS/SQS"}
    for function in everything.of_type("AWS::Lambda::Function").values():
        assert function["Environment"]["Variables"]["METRICS_NAMESPACE"] == namespace
    # Metrics of the code are recorded with the dimensions that the alarms name.
    for metric in used:
        if metric["Namespace"] == namespace and metric["MetricName"] in recorded:
            (labels,) = re.findall(rf'metrics::(?:counter|gauge|histogram)!\(\s*"{metric["MetricName"]}"((?:,\s*"\w+" => [^,)]+)*)', sources())
            assert sorted(re.findall(r'"(\w+)" =>', labels)) == sorted(item["Name"] for item in metric.get("Dimensions", []))
    known = set(re.findall(r'Outcome::\w+ => "(\w+)"', sources()))
    outcomes = {item["Value"] for metric in stats for item in metric["Dimensions"] if item["Name"] == "Outcome"}
    services = {item["Value"] for metric in stats for item in metric["Dimensions"] if item["Name"] == "Service"}
    assert outcomes == {"unreachable", "timed_out", "failed"} <= known
    assert services == {"PocketBase"} <= set(re.findall(r'upstream::send\(\s*"(\w+)"', sources()))


def test_metric_filters_are_on_messages_that_are_logged(everything):
    logged = re.findall(r'tracing::(?:warn|error)!\([^;]*?"([^"]+)"\s*\)', sources(), re.S)
    for name, metric_filter in everything.of_type("AWS::Logs::MetricFilter").items():
        messages = re.findall(r'\$\.message = "([^"]+)"', metric_filter["FilterPattern"])
        assert messages and set(messages) <= set(logged), name


def test_the_dashboard_shows_the_recorded_metrics_and_all_alarms(everything):
    (dashboard,) = everything.of_type("AWS::CloudWatch::Dashboard").values()
    text = dashboard["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(text)["widgets"]
    assert len(widgets) == 7
    shown = set(re.findall(r'MetricName="(\w+)"', json.dumps(widgets).replace("\\", ""))) | {
        metric[1] for widget in widgets for metric in widget["properties"].get("metrics", []) if isinstance(metric[0], str)
    }
    recorded = set(re.findall(r'(?:counter|gauge|histogram)!\(\s*"(\w+)"', sources()))
    assert shown == recorded - {"PocketBaseTokenDays"}
    assert set(re.findall(r"\$\{(\w+)\.Arn\}", text)) == set(alarms(everything))


def test_tracing_is_switched_by_a_parameter(defaults, everything):
    for stack, expected in ((defaults, None), (everything, {"Mode": "Active"})):
        for function in stack.of_type("AWS::Lambda::Function").values():
            assert function.get("TracingConfig") == expected


@pytest.fixture(scope="module", params=[PARAMETERS, PARAMETERS | ALL], ids=["defaults", "everything"])
def gradual_stack(request):
    return Stack(request.param, gradual(TEMPLATE.read_text(), "Canary10Percent5Minutes", "2026-01-01"))


def test_a_gradual_deployment_moves_requests_to_an_alias_and_rolls_back_on_alarms(gradual_stack):
    groups = gradual_stack.of_type("AWS::CodeDeploy::DeploymentGroup")
    functions = gradual_stack.of_type("AWS::Lambda::Function")
    assert {name.removesuffix("DeploymentGroup") for name in groups} == set(functions)
    for group in groups.values():
        assert [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]] == list(ALARMS)
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert set(ALARMS) <= set(alarms(gradual_stack))
    integrations = json.dumps(api(gradual_stack)["paths"])
    for name, function in functions.items():
        assert f"{name}Aliaslive" in gradual_stack.resources
        assert function["Environment"]["Variables"]["RELEASE"] == "2026-01-01"
        assert f"{name}.Arn" not in integrations
    list(TopologicalSorter(dict(dependencies(gradual_stack.resources))).static_order())


def test_each_gradual_deployment_makes_new_versions():
    def versions(release):
        stack = Stack(PARAMETERS, gradual(TEMPLATE.read_text(), "AllAtOnce", release))
        return set(stack.of_type("AWS::Lambda::Version"))

    assert len(versions("1")) == 23 and not versions("1") & versions("2")


def test_cfn_lint_finds_nothing_in_a_gradual_deployment(gradual_stack):
    found = cfnlint.api.lint_all(json.dumps(gradual_stack.template))
    assert [match.message for match in found if match.rule.id.startswith("E")] == []


def test_an_unknown_preference_is_refused():
    with pytest.raises(SystemExit):
        gradual(TEMPLATE.read_text(), "Sometimes", "1")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("SecretsArn", ARN.format("secretsmanager", "secret:identivia")),
        ("SecretsArn", "identivia"),
        ("PocketBaseSecretArn", ARN.format("secretsmanager", "secret:identivia/pocketbase")),
        ("OpenAiBaseUrl", "http://models.example.com/v1"),
        ("PocketBaseUrl", "http://pocketbase.example.com"),
        ("PocketBaseUrl", "EDIT-ME"),
        ("ClientUrl", "app.example.com"),
        ("AllowedOrigins", "https://a.example.com/path"),
        ("AllowedOrigins", "*"),
        ("JwtSecret", "short"),
        ("KmsKeyArn", "alias/identivia"),
        ("DomainName", "https://kyc.example.com"),
    ],
)
def test_a_malformed_parameter_is_refused(parameter, value):
    assert not re.fullmatch(source()["Parameters"][parameter]["AllowedPattern"], value)


def test_the_environments_of_samconfig_differ_in_parameters_alone():
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environments = [config[name]["deploy"]["parameters"] for name in ("staging", "production")]
    declared = source()["Parameters"]
    for environment in environments:
        environment.pop("stack_name")
        overrides = dict(override.split("=", 1) for override in environment.pop("parameter_overrides"))
        assert set(overrides) <= set(declared)
        for name, value in overrides.items():
            # CloudFormation refuses what the operator has to replace.
            is_allowed = re.fullmatch(declared[name].get("AllowedPattern", ".*"), value)
            assert bool(is_allowed) == (value != "EDIT-ME"), name
    assert environments[0] == environments[1]
