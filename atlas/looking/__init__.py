"""One picture through the network: what each layer makes of it, what speaks for its class, where it falls."""

from atlas.looking.page import document, to_html, write_look
from atlas.looking.run import Look, Place, look

__all__ = ["Look", "Place", "document", "look", "to_html", "write_look"]
