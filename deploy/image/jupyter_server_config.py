# JupyterLab in a pod: reached by port-forward or through a hub, and nothing of its own loaded from outside.
c = get_config()  # noqa: F821 - traitlets puts it there

c.ServerApp.ip = "*"  # IPv4 and IPv6 alike: a pod may have either alone
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0  # the probes ask this port and no other
c.ServerApp.open_browser = False
c.ServerApp.root_dir = "/data"  # the file browser shows the notebooks and the captures, so that both can be fetched
c.FileContentsManager.preferred_dir = "notebooks"
# What the user throws away is gone: the trash would be in the container's own files, and full before anyone looks.
c.FileContentsManager.delete_to_trash = False

# JupyterLab asks the network for its own news, its newer version and its extensions unless told not to.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
