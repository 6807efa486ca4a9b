"""HTML as a tree, so that no text can turn into markup: escaping happens in one place, the standard library's."""

from xml.etree.ElementTree import Element, tostring


def element(tag: str, *children: Element | str, **attributes: object) -> Element:
    """Return an element; ``class_`` and ``data_value`` become the attributes ``class`` and ``data-value``."""
    made = Element(tag, {name.strip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def render(root: Element) -> str:
    """Return the document of a root element; styles and scripts are not escaped, so they must be ours."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
