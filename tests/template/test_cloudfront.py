"""docs/cloudfront.yaml, the example of CloudFront and AWS WAF in front of the API."""

import json
import re

import boto3
import cfnlint.api
import pytest
from cfnlint.config import ManualArgs
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse

from deployed import ROOT, Stack

EXAMPLE = ROOT / "docs/cloudfront.yaml"
PARAMETERS = {"ApiHost": "abcdefghij.execute-api.eu-west-1.amazonaws.com"}
DOMAIN = {
    "DomainName": "kyc.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/51af3dc0-da77-11e4-872e-1234567db123",
}
CLIENT = {"ClientCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/0c5e1d6e-5b9f-4a51-9d4c-6a0d3b8f0a11"}


class Example(Stack):
    """The example for a set of parameters. It needs no transformation."""

    def __init__(self, parameters):
        self.template = source()
        self.values = {"AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::StackName": "edge"}
        for name, declared in self.template["Parameters"].items():
            value = parameters.get(name, declared.get("Default"))
            self.values[name] = int(value) if declared["Type"] == "Number" else value
        self.resources = self._existing("Resources")
        self.outputs = self._existing("Outputs")


def source():
    return yaml_parse(EXAMPLE.read_text())


@pytest.fixture(params=[PARAMETERS, PARAMETERS | DOMAIN | CLIENT], ids=["defaults", "everything"])
def example(request):
    return Example(request.param)


def distribution(example):
    return example.resources["Distribution"]["Properties"]["DistributionConfig"]


def acl(example):
    return example.resources["WebAcl"]["Properties"]


def rules(example):
    return {rule["Name"]: rule for rule in acl(example)["Rules"]}


def rate(example, name):
    return rules(example)[name]["Statement"]["RateBasedStatement"]


def test_cfn_lint_finds_nothing():
    found = cfnlint.api.lint(EXAMPLE.read_text(), config=ManualArgs(regions=["us-east-1"]))
    # It takes the default of CertificateArn for its value, although the condition excludes it.
    ignored = "W1030 {'Ref': 'CertificateArn'}"
    assert [text for match in found if not (text := f"{match.rule.id} {match.message}").startswith(ignored)] == []


def test_the_values_of_the_tests_are_allowed():
    declared = source()["Parameters"]
    for name, value in (PARAMETERS | DOMAIN | CLIENT).items():
        assert re.fullmatch(declared[name]["AllowedPattern"], value), name


@pytest.mark.parametrize("host", ["https://abcdefghij.execute-api.eu-west-1.amazonaws.com", "kyc.example.com/", "EDIT ME", ""])
def test_a_malformed_host_is_refused(host):
    assert not re.fullmatch(source()["Parameters"]["ApiHost"]["AllowedPattern"], host)


def test_nothing_is_cached_and_everything_but_the_host_is_forwarded(example):
    behavior = distribution(example)["DefaultCacheBehavior"]
    assert "CacheBehaviors" not in distribution(example)
    # The ids of AWS's policies CachingDisabled and AllViewerExceptHostHeader.
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert not behavior["Compress"]
    assert {"GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE"} <= set(behavior["AllowedMethods"])


def test_no_error_is_cached(example):
    errors = distribution(example)["CustomErrorResponses"]
    # All that CloudFront caches; it never caches 416.
    assert {error["ErrorCode"] for error in errors} == {400, 403, 404, 405, 414, 500, 501, 502, 503, 504}
    assert all(error == {"ErrorCode": error["ErrorCode"], "ErrorCachingMinTTL": 0} for error in errors)


def test_connections_are_encrypted(example):
    config = distribution(example)
    (origin,) = config["Origins"]
    assert origin["DomainName"] == PARAMETERS["ApiHost"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origin["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]
    # More than the 30 s of API Gateway, and not more than CloudFront allows without a higher quota.
    assert 30 < origin["CustomOriginConfig"]["OriginReadTimeout"] <= 60
    assert config["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"
    assert ("Aliases" in config) == ("OriginMtlsConfig" in origin["CustomOriginConfig"])
    if "Aliases" in config:
        assert config["Aliases"] == ["kyc.example.com"]
        assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
        assert origin["CustomOriginConfig"]["OriginMtlsConfig"] == CLIENT
        assert example.outputs["Url"]["Value"] == "https://kyc.example.com"


def test_every_rate_rule_aggregates_by_what_its_name_says(example):
    header = {"Header": {"Name": "x-api-key", "TextTransformations": [{"Priority": 0, "Type": "NONE"}]}}
    limits = {name: rule["Statement"]["RateBasedStatement"] for name, rule in rules(example).items() if "RateBasedStatement" in rule["Statement"]}
    assert set(limits) == {"token", "verif", "address", "key-and-address", "key"}
    for name in ("token", "verif", "address"):
        assert limits[name]["AggregateKeyType"] == "IP" and "CustomKeys" not in limits[name]
    assert limits["key-and-address"]["AggregateKeyType"] == limits["key"]["AggregateKeyType"] == "CUSTOM_KEYS"
    assert limits["key-and-address"]["CustomKeys"] == [header, {"IP": {}}]
    assert limits["key"]["CustomKeys"] == [header]


def test_rate_rules_answer_429_and_come_first(example):
    for name, rule in rules(example).items():
        if "RateBasedStatement" in rule["Statement"]:
            response = rule["Action"]["Block"]["CustomResponse"]
            assert response["ResponseCode"] == 429, name
            assert json.loads(acl(example)["CustomResponseBodies"][response["CustomResponseBodyKey"]]["Content"])
    assert list(rules(example)) == ["token", "verif", "address", "key-and-address", "key", "reputation", "known-bad-inputs", "common"]
    assert [rule["Priority"] for rule in acl(example)["Rules"]] == list(range(8))


def test_limits_of_paths_are_stricter_and_an_address_cannot_use_up_a_key(example):
    limits = {name: rate(example, name)["Limit"] for name in ("token", "verif", "address", "key-and-address", "key")}
    assert limits["token"] < limits["verif"] < limits["address"]
    assert limits["key-and-address"] < limits["key"]
    assert all(rate(example, name)["EvaluationWindowSec"] == 60 for name in limits)
    for name, path in (("token", "/api/auth/token"), ("verif", "/verif")):
        match = rate(example, name)["ScopeDownStatement"]["ByteMatchStatement"]
        assert (match["SearchString"], match["PositionalConstraint"]) == (path, "STARTS_WITH")
        assert match["FieldToMatch"] == {"UriPath": {}}
        assert [item["Type"] for item in match["TextTransformations"]] == ["URL_DECODE", "NORMALIZE_PATH"]


def test_rules_on_bodies_of_uploads_only_count(example):
    groups = {
        group["Name"]: {item["Name"]: item["ActionToUse"] for item in group.get("RuleActionOverrides", [])}
        for rule in rules(example).values()
        if (group := rule["Statement"].get("ManagedRuleGroupStatement"))
    }
    assert set(groups) == {"AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesCommonRuleSet"}
    counted = groups.pop("AWSManagedRulesCommonRuleSet")
    assert counted["SizeRestrictions_BODY"] == {"Count": {}}
    assert all(action == {"Count": {}} for action in counted.values())
    # The other rules block.
    assert not any(groups.values())
    assert all(rule["OverrideAction"] == {"None": {}} for rule in rules(example).values() if "OverrideAction" in rule)


def test_logs_contain_no_key_token_or_path(example):
    protected = [item["Field"] for item in acl(example)["DataProtectionConfig"]["DataProtections"]]
    for header in ("x-api-key", "authorization"):
        assert {"FieldType": "SINGLE_HEADER", "FieldKeys": [header]} in protected
    assert {"FieldType": "QUERY_STRING"} in protected and {"FieldType": "BODY"} in protected
    logging = example.resources["WafLogging"]["Properties"]
    redacted = logging["RedactedFields"]
    assert {"SingleHeader": {"Name": "x-api-key"}} in redacted and {"SingleHeader": {"Name": "authorization"}} in redacted
    assert {"UriPath": {}} in redacted and {"QueryString": {}} in redacted
    assert logging["LoggingFilter"]["DefaultBehavior"] == "DROP"
    (group,) = example.of_type("AWS::Logs::LogGroup").values()
    assert logging["LogDestinationConfigs"] == [f"arn:aws:logs:us-east-1:123456789012:log-group:{group['LogGroupName']}"]
    assert group["LogGroupName"].startswith("aws-waf-logs-")
    assert "Logging" not in distribution(example)
    assert not any(item["VisibilityConfig"]["SampledRequestsEnabled"] for item in [acl(example), *acl(example)["Rules"]])


def test_cloudformation_reads_it_without_yaml_anchors():
    assert not re.search(r"(?m)[:\[{,-] [&*]\w", EXAMPLE.read_text())


@mock_aws
def test_waf_and_cloudfront_accept_it(example):
    """moto's CloudFormation knows neither type, so their APIs get the properties. boto3 checks names and types of all of them."""
    waf = boto3.client("wafv2", region_name="us-east-1")
    properties = json.loads(json.dumps(acl(example)))
    for rule in properties["Rules"]:
        if down := rule["Statement"].get("RateBasedStatement", {}).get("ScopeDownStatement"):
            down["ByteMatchStatement"]["SearchString"] = down["ByteMatchStatement"]["SearchString"].encode()
    created = waf.create_web_acl(Name="edge", **properties)["Summary"]
    stored = waf.get_web_acl(Name="edge", Scope="CLOUDFRONT", Id=created["Id"])["WebACL"]
    assert [rule["Name"] for rule in stored["Rules"]] == list(rules(example))
    logging = {**example.resources["WafLogging"]["Properties"], "ResourceArn": created["ARN"]}
    waf.put_logging_configuration(LoggingConfiguration=logging)
    configured = waf.get_logging_configuration(ResourceArn=created["ARN"])["LoggingConfiguration"]
    assert configured["RedactedFields"] == logging["RedactedFields"]
    cloudfront = boto3.client("cloudfront", region_name="us-east-1")
    config = of_the_api(distribution(example)) | {"CallerReference": "test", "WebACLId": created["ARN"]}
    config["Origins"]["Items"][0]["CustomOriginConfig"] |= {"HTTPPort": 80, "HTTPSPort": 443}
    cached = config["DefaultCacheBehavior"].pop("CachedMethods")
    config["DefaultCacheBehavior"]["AllowedMethods"]["CachedMethods"] = cached
    stored = cloudfront.create_distribution(DistributionConfig=config)["Distribution"]["DistributionConfig"]
    assert stored["WebACLId"] == created["ARN"]
    assert stored["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"


# Properties that CloudFormation spells in another way than the API.
RENAMED = {
    "AcmCertificateArn": "ACMCertificateArn",
    "IPV6Enabled": "IsIPV6Enabled",
    "OriginSSLProtocols": "OriginSslProtocols",
    "SslSupportMethod": "SSLSupportMethod",
}


def of_the_api(value):
    """CloudFront's API counts the items of lists."""
    if isinstance(value, list):
        return {"Quantity": len(value), "Items": [of_the_api(item) for item in value]}
    if isinstance(value, dict):
        return {RENAMED.get(name, name): of_the_api(item) for name, item in value.items()}
    return value
