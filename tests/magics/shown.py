"""What a cell shows, as text."""


def plain(cell):
    """Return everything a cell shows as text."""
    said = []
    for output in cell.outputs:
        if output.output_type == "error":
            said.append("\n".join(output.traceback))
        else:
            said.append(output.get("text") or output["data"].get("text/plain", ""))
    return "\n".join(said)
