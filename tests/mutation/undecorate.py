"""mutmut leaves a decorated function alone, so the copy that it works on says the same without decorators.

``@exact`` becomes an assignment after the function, a property a method that the property calls; a cache is left out,
because it would answer for a mutant with what the true function said before it.
"""

from __future__ import annotations

import ast

PROPERTY = "_of_property"


def undecorate(source: str) -> str:
    lines = source.splitlines()
    for node in sorted(_decorated(ast.parse(source)), key=lambda node: -node.lineno):
        (decorator,) = node.decorator_list
        said = ast.unparse(decorator)
        indent = " " * node.col_offset
        assert node.end_lineno is not None
        if said == "exact":
            lines[node.end_lineno : node.end_lineno] = [f"{indent}{node.name} = exact({node.name})"]
        elif said == "property":
            assert node.returns is not None
            lines[node.end_lineno : node.end_lineno] = [
                "",
                f"{indent}@property",
                f"{indent}def {node.name}(self) -> {ast.unparse(node.returns)}:",
                f"{indent}    return self.{node.name}{PROPERTY}()",
            ]
            lines[node.lineno - 1] = lines[node.lineno - 1].replace(f"def {node.name}(", f"def {node.name}{PROPERTY}(")
        del lines[decorator.lineno - 1]
    return "\n".join(lines) + "\n"


def _decorated(tree: ast.Module) -> list[ast.FunctionDef]:
    outer: list[ast.AST] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    functions = [node for one in outer for node in ast.iter_child_nodes(one) if isinstance(node, ast.FunctionDef)]
    wanted = ("exact", "property", "lru_cache", "cache")
    return [
        node
        for node in functions
        if len(node.decorator_list) == 1 and ast.unparse(node.decorator_list[0]).startswith(wanted)
    ]
