"""Maps the top-level folders train/, export/ and runtime/ to stpr.train, stpr.export and stpr.runtime."""

from setuptools import find_packages, setup

FOLDERS = ("train", "export", "runtime")

packages = [
    f"stpr.{name}" for folder in FOLDERS for name in [folder, *(f"{folder}.{sub}" for sub in find_packages(folder))]
]

setup(packages=packages, package_dir={f"stpr.{folder}": folder for folder in FOLDERS})
