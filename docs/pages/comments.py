"""The comments on the lines of a class, as the generated pages show them."""

import ast
import inspect
import io
import tokenize


def comments_of(kind: type) -> dict[str, str]:
    """For each field of a class or member of an enum, the comments on its lines."""
    source = inspect.getsource(kind)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    [definition] = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    return {
        name: " ".join(comments[line] for line in lines if line in comments)
        for node in definition.body
        for name in _names(node)
        for lines in [range(node.lineno, (node.end_lineno or node.lineno) + 1)]
    }


def _names(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns to."""
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []
