"""What goes on in packets that keep coming: rates, talkers, TCP's trouble, DNS's delay, up to date after each chunk.

Memory and time for a chunk are bounded whatever came before it: no packet is kept.
"""

from podtracer_nb.analysis.activity.activity import COLUMNS, KINDS, TROUBLE, Activity
from podtracer_nb.analysis.activity.dns import DnsDelays
from podtracer_nb.analysis.activity.segments import Segments
from podtracer_nb.analysis.activity.talkers import Talkers

__all__ = ["COLUMNS", "KINDS", "TROUBLE", "Activity", "DnsDelays", "Segments", "Talkers"]
