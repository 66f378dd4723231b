"""Writes template-gradual.yaml: template.yaml, deployed gradually with AWS CodeDeploy.

    gradual.py Canary10Percent5Minutes > template-gradual.yaml

Each function gets an alias, to which requests are moved as the deployment preference says. An alarm during that time moves them back.

This is not in template.yaml, because an alias keeps its version of the function until SAM makes a new one, and SAM does not make one
when only the value of a parameter changes. So each deployment needs a change that SAM sees: the variable RELEASE.
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

PREFERENCES = ("Canary10Percent5Minutes", "Canary10Percent15Minutes", "Linear10PercentEvery1Minute", "AllAtOnce")
# Alarms on the API cannot be used: the API depends on the aliases, and they on the deployments.
ALARMS = ("FailedRequestsAlarm", "PocketBaseUnreachableAlarm")


def gradual(template, preference, release):
    """The text of a template, with aliases and deployments."""
    if preference not in PREFERENCES:
        raise SystemExit(f"{preference!r} is none of {', '.join(PREFERENCES)}")
    # CodeDeploy refuses a deployment while one of its alarms is raised. AllAtOnce is the way to deploy a correction then.
    alarms = "" if preference == "AllAtOnce" else ", ".join(f"!Ref {alarm}" for alarm in ALARMS)
    replaced = {
        "\nGlobals:\n  Function:\n": f"""
Globals:
  Function:
    AutoPublishAlias: live
    DeploymentPreference: {{ Type: {preference}, Alarms: [{alarms}] }}
""",
        '\n        RUST_BACKTRACE: "0"\n': f'\n        RUST_BACKTRACE: "0"\n        RELEASE: "{release}"\n',
    }
    for old, new in replaced.items():
        if template.count(old) != 1:
            raise SystemExit(f"template.yaml does not have once: {old.strip()!r}")
        template = template.replace(old, new)
    return template


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    source = Path(__file__).parents[2] / "template.yaml"
    sys.stdout.write(gradual(source.read_text(), sys.argv[1], datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")))
