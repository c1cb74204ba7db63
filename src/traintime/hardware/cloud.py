"""Which cloud this machine is of, and what its metadata service says about taking it away."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DMI_FOLDER = Path("/sys/class/dmi/id")
# All three clouds answer at this link-local address, so no name has to be looked up.
METADATA_URL = "http://169.254.169.254"
MOST_ANSWER_BYTES = 2**16

# What the firmware of a machine says in these files can be read by anybody, without the network.
# AWS: sys_vendor "Amazon EC2", or Xen with the BIOS "4.2.amazon" (P2 and P3 instances)
#   https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
# Google: one of these product names
#   https://github.com/grpc/grpc-go/blob/master/internal/googlecloud/googlecloud.go
# Azure: chassis_asset_tag, as the vendor's name is that of any Hyper-V
#   https://github.com/canonical/cloud-init/blob/main/cloudinit/sources/azure/identity.py
GOOGLE_PRODUCTS = ("Google", "Google Compute Engine")
AZURE_CHASSIS = "7783-7084-3265-9085-8269-3286-77"

GPU_OF_A_MACHINE = Path("/dev/nvidiactl")
# Google announces the stop of a machine with a GPU an hour ahead, of others a minute.
USABLE_AFTER_GPU_NOTICE_S = 55 * 60.0


@dataclass(frozen=True)
class Notice:
    """What a cloud says about taking this machine away.

    Args:
        sentence: For people.
        usable_s: Training may go on for so long after the notice was first seen; infinite where
            it is a hint only.
    """

    sentence: str
    usable_s: float = 0.0


class MetadataService:
    """Asks one metadata service, never through a proxy and never following a redirect.

    Args:
        base_url: Such as "http://169.254.169.254".
        timeout_s: How long one answer may be waited for.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        self._host = parts.netloc
        self._folder = parts.path.rstrip("/")
        self._timeout_s = timeout_s

    def ask(self, path: str, headers: Mapping[str, str], method: str = "GET") -> str | None:
        """Return what stands at a path, or None if nothing does.

        Raises:
            OSError: No answer in time, or one that says neither.
            ValueError: The answer is no text.
            HTTPException: The answer is not of the protocol.
        """
        with closing(HTTPConnection(self._host, timeout=self._timeout_s)) as connection:
            connection.request(method, self._folder + path, headers=dict(headers))
            answer = connection.getresponse()
            text = answer.read(MOST_ANSWER_BYTES).decode()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise OSError(f"{path} was answered with {answer.status}")
        return text.strip()


def cloud(dmi: Path = DMI_FOLDER) -> str | None:
    """Return "aws", "gcp", "azure", or None where the firmware names none of them.

    Args:
        dmi: The folder in which Linux shows what the firmware says.
    """

    def said(name: str) -> str:
        try:
            return (dmi / name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return ""

    if said("sys_vendor") == "Amazon EC2" or said("bios_version").endswith("amazon"):
        return "aws"
    if said("product_name") in GOOGLE_PRODUCTS:
        return "gcp"
    return "azure" if said("chassis_asset_tag") == AZURE_CHASSIS else None


def ask_aws(service: MetadataService) -> list[Notice]:
    """Ask for the two-minute notice of a spot instance, else for a recommendation to leave.

    Both paths answer 404 as long as there is nothing to say. A token of IMDSv2 is asked for each
    time, so none can expire.

    References:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
        (read November 2026)
    """
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = service.ask("/latest/api/token", lifetime, "PUT")
    if token is None:
        return []
    headers = {"X-aws-ec2-metadata-token": token}
    notice = service.ask("/latest/meta-data/spot/instance-action", headers)
    if notice is not None:
        known = _json_object(notice)
        actions = {"terminate": "takes this spot instance away", "stop": "stops this spot instance"}
        actions["hibernate"] = "hibernates this spot instance"
        action = actions.get(str(known.get("action")))
        if action is None:
            raise ValueError(f"no such action: {notice}")
        return [Notice(f"AWS {action}{_at(known.get('time'), datetime.fromisoformat)}")]
    if service.ask("/latest/meta-data/events/recommendations/rebalance", headers) is None:
        return []
    hint = "AWS says that this spot instance is at a higher risk of being taken away"
    return [Notice(hint, math.inf)]


def ask_gcp(service: MetadataService) -> list[Notice]:
    """Ask whether a spot VM is being preempted, else whether its host is about to be maintained.

    A VM has 30 seconds from its preemption. Maintenance is announced a minute ahead, and an hour
    where the VM has a GPU, but only to those who ask for `maintenance-event` regularly.

    References:
        https://cloud.google.com/compute/docs/instances/create-use-preemptible
        https://cloud.google.com/compute/docs/gpus/gpu-host-maintenance
        https://cloud.google.com/compute/docs/metadata/getting-live-migration-notice
        (read November 2026)
    """
    headers = {"Metadata-Flavor": "Google"}
    preempted = service.ask("/computeMetadata/v1/instance/preempted", headers)
    if preempted == "TRUE":
        return [Notice("Google Cloud takes this spot machine away within 30 seconds")]
    event = service.ask("/computeMetadata/v1/instance/maintenance-event", headers)
    if event != "TERMINATE_ON_HOST_MAINTENANCE":
        return []
    if GPU_OF_A_MACHINE.exists():
        sentence = "Google Cloud has announced, an hour ahead, to stop this machine for maintenance"
        return [Notice(sentence, USABLE_AFTER_GPU_NOTICE_S)]
    return [Notice("Google Cloud stops this machine for maintenance within a minute")]


def ask_azure(service: MetadataService) -> list[Notice]:
    """Ask for the events that delete this machine: at least 30 seconds ahead for a spot machine.

    Every machine of a scale set or availability set is told of the events of all, so the names in
    an event count. The first answer ever may take Azure two minutes.

    References:
        https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
        (API 2020-07-01, read November 2026)
    """
    headers = {"Metadata": "true"}
    answer = service.ask("/metadata/scheduledevents?api-version=2020-07-01", headers)
    if answer is None:
        return []
    events: Any = _json_object(answer).get("Events")
    if not isinstance(events, list):
        raise ValueError(f"no list of events: {answer[:80]}")
    verbs = {"Preempt": "takes this spot machine away", "Terminate": "deletes this machine"}
    return [
        Notice(f"Azure {verbs[event['EventType']]}{_at(event.get('NotBefore'), _http_date)}")
        for event in events
        if isinstance(event, dict)
        and str(event.get("EventType")) in verbs
        and _names_this_machine(event.get("Resources"), service)
    ]


ASK: dict[str, Callable[[MetadataService], list[Notice]]] = {
    "aws": ask_aws,
    "gcp": ask_gcp,
    "azure": ask_azure,
}


def _names_this_machine(resources: Any, service: MetadataService) -> bool:
    """Return False only if others are named: a stop too many loses less than a machine."""
    name = None
    with suppress(OSError):
        path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
        name = service.ask(path, {"Metadata": "true"})
    return not name or not isinstance(resources, list) or not resources or name in resources


def _json_object(text: str) -> dict[str, Any]:
    known = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError(f"no JSON object: {text[:80]}")
    return known


def _http_date(text: str) -> datetime:
    return parsedate_to_datetime(text)


def _at(text: Any, read: Callable[[str], datetime]) -> str:
    """Return " at 12:03:00 UTC", or nothing if the time cannot be read."""
    try:
        moment = read(str(text))
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return f" at {aware.astimezone(UTC):%H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return ""
