"""The use cases: from a reference to something that can be served (``provider``), one fill per source (``fills``)."""
