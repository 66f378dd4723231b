"""The template as CloudFormation receives it: transformed by SAM's own translator, and resolved for a set of parameters."""

import copy
import functools
import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

# Another template can be tested with TEMPLATE=old.yaml.
ROOT = Path(__file__).parents[2]
TEMPLATE = Path(os.environ.get("TEMPLATE", ROOT / "template.yaml"))
# gradual.py
sys.path.append(str(ROOT / "tools/template"))

PSEUDO_PARAMETERS = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/Identivia-production/51af3dc0-da77-11e4-872e-1234567db123",
    "AWS::StackName": "Identivia-production",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


def source():
    """The template as it is written."""
    return yaml_parse(TEMPLATE.read_text())


class NoManagedPolicies:
    """SAM looks AWS's managed policies up by name. The template names none."""

    def load(self):
        return {}


@functools.cache
def _transformed(parameters, text):
    template = yaml_parse(text)
    for resource in template["Resources"].values():
        # `sam package` uploads these folders.
        for uri in ("CodeUri", "ContentUri"):
            if uri in resource.get("Properties", {}):
                resource["Properties"][uri] = f"s3://packages/{resource['Properties'][uri]}"
    return transform(template, json.loads(parameters), NoManagedPolicies())


def transformed(parameters, text=None):
    """The template, or another one, without SAM's resources, still with its conditions."""
    return copy.deepcopy(_transformed(json.dumps(parameters, sort_keys=True), text or TEMPLATE.read_text()))


class Stack:
    """Resources and outputs that a set of parameters creates. References to resources and their attributes are left in place."""

    def __init__(self, parameters, text=None):
        self.template = transformed(parameters, text)
        self.values = PSEUDO_PARAMETERS | {
            name: self._value(declared, parameters.get(name, declared.get("Default")))
            for name, declared in self.template["Parameters"].items()
        }
        self.resources = self._existing("Resources")
        self.outputs = self._existing("Outputs")

    @staticmethod
    def _value(declared, value):
        if declared["Type"] == "CommaDelimitedList":
            return value.split(",")
        return value if value is None else str(value)

    def _existing(self, section):
        return {
            name: self.resolve({key: value for key, value in item.items() if key != "Condition"})
            for name, item in self.template[section].items()
            if "Condition" not in item or self.condition(item["Condition"])
        }

    def of_type(self, kind):
        """The properties of all resources of a type, by logical id."""
        return {name: item.get("Properties", {}) for name, item in self.resources.items() if item["Type"] == kind}

    def condition(self, name):
        return self._holds(self.template["Conditions"][name])

    def _holds(self, condition):
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self.condition(argument)
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(map(self._holds, argument))
            case "Fn::Or":
                return any(map(self._holds, argument))
            case "Fn::Equals":
                left, right = map(self.resolve, argument)
                return left == right
        raise AssertionError(f"no function of conditions: {function}")

    def resolve(self, value):
        """Evaluates CloudFormation's functions as far as the parameters allow."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            match function:
                case "Ref":
                    return NO_VALUE if argument == "AWS::NoValue" else self.values.get(argument, value)
                case "Fn::If":
                    name, yes, no = argument
                    return self.resolve(yes if self.condition(name) else no)
                case "Fn::Join":
                    separator, parts = argument[0], self.resolve(argument[1])
                    known = all(isinstance(part, str) for part in parts)
                    return separator.join(parts) if known else {function: [separator, parts]}
                case "Fn::Split":
                    text = self.resolve(argument[1])
                    return text.split(argument[0]) if isinstance(text, str) else {function: [argument[0], text]}
                case "Fn::Select":
                    return self.resolve(argument[1])[int(argument[0])]
                case "Fn::Sub":
                    return self._substitute(argument)
        return {key: item for key, item in ((key, self.resolve(item)) for key, item in value.items()) if item is not NO_VALUE}

    def _substitute(self, argument):
        text, own = argument if isinstance(argument, list) else (argument, {})
        own = {name: self.resolve(value) for name, value in own.items()}
        values = self.values | own
        text = re.sub(
            r"\$\{([^!}]+)\}",
            lambda match: value if isinstance(value := values.get(match[1]), str) else match[0],
            text,
        )
        left = {name: value for name, value in own.items() if f"${{{name}}}" in text}
        if "${" not in text:
            return text
        return {"Fn::Sub": [text, left]} if left else {"Fn::Sub": text}


def references(value):
    """Logical ids that a resolved value refers to."""
    if isinstance(value, list):
        return {name for item in value for name in references(item)}
    if not isinstance(value, dict):
        return set()
    if set(value) == {"Ref"}:
        return {value["Ref"]}
    if set(value) == {"Fn::GetAtt"}:
        argument = value["Fn::GetAtt"]
        return {(argument if isinstance(argument, list) else argument.split("."))[0]}
    if set(value) == {"Fn::Sub"}:
        argument = value["Fn::Sub"]
        text, own = argument if isinstance(argument, list) else (argument, {})
        names = {name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text)}
        return (names - set(own)) | references(list(own.values()))
    return {name for item in value.values() for name in references(item)}


def dependencies(resources):
    """What each resource of a stack depends on: by reference, and by DependsOn."""
    for name, item in resources.items():
        declared = item.get("DependsOn", [])
        yield name, (references(item) | set([declared] if isinstance(declared, str) else declared)) & set(resources)
