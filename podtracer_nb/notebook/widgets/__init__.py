"""What is steered by hand in a notebook: one widget a file, its JavaScript beside it, nothing from a network.

Each shows itself without a kernel, too, as a table, an SVG or text: in a saved or exported notebook.
"""

from podtracer_nb.notebook.widgets.ladder_diagram import LadderDiagram, ladder
from podtracer_nb.notebook.widgets.live_dashboard import LiveDashboard, dashboard
from podtracer_nb.notebook.widgets.packet_list import PacketList, browse
from podtracer_nb.notebook.widgets.pod_picker import PodPicker, picker
from podtracer_nb.notebook.widgets.topology_graph import Topology, topology

__all__ = [
    "LadderDiagram",
    "LiveDashboard",
    "PacketList",
    "PodPicker",
    "Topology",
    "browse",
    "dashboard",
    "ladder",
    "picker",
    "topology",
]
