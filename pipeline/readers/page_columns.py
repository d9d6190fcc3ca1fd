"""The columns of the arrays in which a page's elements, blocks and runs of text stand."""

from __future__ import annotations

# Of an element. FIRST and END: its blocks; HAD: how many items, rows or cells it has; `NEAR_*`: the number of the nearest such element
# around it, itself counted, or -1; LISTS: how many lists it lies in, within its cell.
(
    PARENT, TAG, AT, KINDS, ORDINAL, DEPTH, FIRST, END, NEAR_ITEM, NEAR_CELL, NEAR_ROW, NEAR_TABLE, NEAR_PRE, LISTS, HAD,
) = range(15)  # fmt: skip
ELEMENT_COLUMNS = 15

# Of a block. RUN and RUN_END: its runs. Lengths are in characters that are no white space; one of East Asia's counts for two.
(
    ELEMENT, RUN, RUN_END, LENGTH, LINKED, WORDS, COMMAS, STOPS, DIGITS, CAPITALS, LINKS, BOLD, LAST, BEGINS, DIGEST,
    BLOCK_KINDS, LONGEST,
) = range(17)  # fmt: skip
BLOCK_COLUMNS = 17

# Of a run of text: begin and end in the page, and how many line breaks stand before it.
RUN_COLUMNS = 3
