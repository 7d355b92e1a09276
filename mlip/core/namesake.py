"""The other package that imports as `mlip`: both in one environment write their files into one folder."""

from importlib import metadata


def refuse() -> None:
    """Refuse to work beside the PyPI package `mlip`.

    Raises:
        ValueError: that package is installed in this environment.
    """
    try:
        version = metadata.version("mlip")
    except metadata.PackageNotFoundError:
        return
    raise ValueError(
        f"the package 'mlip' {version} is installed here and imports under the same name as facet-mlip: "
        "pip uninstall mlip facet-mlip, then install facet-mlip again, or use another environment"
    )
