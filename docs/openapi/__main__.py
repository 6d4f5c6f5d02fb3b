"""Write the document again; with `--released`, also as the one that the next changes are compared with."""

import sys

from docs.openapi.document import BUILT, RELEASED, text

BUILT.write_text(text(), encoding="utf-8")
if "--released" in sys.argv[1:]:
    RELEASED.write_text(text(), encoding="utf-8")
