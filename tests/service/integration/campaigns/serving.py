"""The example of docs/bulk-mail.md, on a free port: `python -m …`."""

import uvicorn

from tests import pages

MOUNTED = pages.block("docs/bulk-mail.md", "from starlette")

if __name__ == "__main__":
    made = {}
    exec(MOUNTED, made)  # noqa: S102 -- from our own page
    uvicorn.run(made["app"], host="127.0.0.1", port=0)
