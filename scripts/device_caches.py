"""Last caches of GPUs, which the table of device specifications lacks.

As vendors' white papers and programming guides state them: the L2 that all cores share; of AMD from
RDNA 3 and CDNA 3 on, the Infinity Cache behind it. Other makers' chips are left open.
"""

from __future__ import annotations

CACHE_MIB = {
    0.5: "k520",
    1: "gtx-1050-ti gtx-1650",
    1.5: "k40 k80 titan-black gtx-1060 gtx-1660 gtx-1660-super",
    2: "m60 gtx-980 p4 quadro-p4000 gtx-1070 gtx-1070-ti gtx-1080 rtx-3050 a16",
    2.75: "gtx-1080-ti",
    3: "m40 gtx-980-ti titan-x-maxwell titan-x-pascal titan-xp p40 rtx-2060 rtx-3060",
    4: "p100 t4 quadro-rtx-4000 quadro-rtx-5000 rtx-2070 rtx-2080 rtx-3060-ti rtx-3070 "
    "rtx-3080-maxq rtx-a4000 radeon-vii radeon-pro-vii rx-vega-64 mi50 mi60",
    4.5: "titan-v",
    5: "rtx-3080",
    5.5: "rtx-2080-ti",
    6: "v100 quadro-gv100 titan-rtx quadro-rtx-6000 quadro-rtx-8000 rtx-3080-ti rtx-3090 rtx-a4500 "
    "rtx-a5000 rtx-a5500 rtx-a6000 a10 a40",
    8: "mi100 mi210",
    16: "mi250 arc-a770",
    18: "arc-b580",
    24: "a30",
    32: "rtx-4060-ti rtx-5060-ti",
    36: "rtx-4070",
    40: "a100 a800",
    48: "rtx-4070-ti rtx-4000-ada l4 rtx-5070 rtx-5070-ti",
    50: "h100 h200 h800 gh200",
    60: "h20",
    64: "rtx-4080 rtx-5080",
    72: "rtx-4090",
    96: "rtx-6000-ada l40 rx-7900-xtx rtx-5090",
    126: "b200 gb200 b300 gb300",
    128: "rtx-pro-6000",
    256: "mi300 mi325x mi350x mi355x",
}
"""Size to the beginnings of the keys that have it; the longest beginning counts."""


def cache_mib(key: str) -> str:
    """Return the size of a device's cache as the catalogue writes it; empty if it is not known.

    Args:
        key: Of the device.
    """
    sizes = {start: size for size, starts in CACHE_MIB.items() for start in starts.split()}
    starts = [start for start in sizes if _begins(key, start)]
    return f"{sizes[max(starts, key=len)]:g}" if starts else ""


def _begins(key: str, start: str) -> bool:
    rest = key.removeprefix(start)
    return key.startswith(start) and (not rest or not rest[0].isdigit())
