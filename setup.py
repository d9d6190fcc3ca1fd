"""What pyproject.toml cannot say: the recipes, which stand at the top of the source tree, go into wheels as `jobs/recipes`."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECIPES = Path("recipes")


class BuildWithRecipes(build_py):
    """setuptools' own build of Python modules, and a copy of each recipe."""

    def _recipes(self) -> dict[str, str]:
        """The file that each recipe becomes in the build folder, with its source. An editable installation reads `recipes/` itself."""
        if self.editable_mode:
            return {}
        target = Path(self.build_lib, "jobs", "recipes")
        return {str(target / path.relative_to(RECIPES)): str(path) for path in sorted(RECIPES.rglob("*.yaml"))}

    def run(self) -> None:
        super().run()
        for target, source in self._recipes().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._recipes()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **self._recipes()}


setup(cmdclass={"build_py": BuildWithRecipes})
