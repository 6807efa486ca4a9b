"""Where a report's figures come from: what the manifest says of their runs."""

from benchmarks.report.results import Results


def facts(results: Results) -> list[tuple[str, str]]:
    """Return names and texts; one says so where there is no manifest."""
    if not (manifest := results.manifest):
        return [("manifest", "none: manifest.json is not in the folder")]
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
    found = [(name, str(manifest.get(name, ""))) for name in ("command", "commit", "device", "created")]
    found += [("image size", str(results.config.get("image_size", ""))), ("versions", versions)]
    found += [(f"images of {name}", f"SHA-256 {digest}") for name, digest in manifest.get("images", {}).items()]
    return [(name, text) for name, text in found if text]
