"""The notebook as people see it: a real JupyterLab in a real browser that reaches nothing but this machine."""
