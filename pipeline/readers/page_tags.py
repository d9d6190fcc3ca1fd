"""What the tags of a page and the words of its class names mean, as tables that kernels look up by hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HASH = 0x9E3779B97F4A7C15  # odd; multiplied after each byte, as in Fibonacci hashing
SLOTS = 4096  # of a table; a power of two, at most half full


def hashed(word: str) -> int:
    """The hash of a word, as the kernels that read pages take it byte by byte."""
    found = 0
    for byte in word.encode():
        found = ((found ^ byte) * HASH) & (2**64 - 1)
        found ^= found >> 29
    return found


class WordTable:
    """Words and a number for each, by open addressing: `keys` (SLOTS, uint64, 0 for none) and `values` (SLOTS, float32)."""

    def __init__(self, words: dict[str, float]) -> None:
        if len(words) > SLOTS // 2:
            raise ValueError(f"{len(words)} words are too many for a table of {SLOTS}")
        self.keys: npt.NDArray[np.uint64] = np.zeros(SLOTS, np.uint64)
        self.values: npt.NDArray[Any] = np.zeros(SLOTS, np.float32)
        for word, value in words.items():
            key = hashed(word)
            slot = key & (SLOTS - 1)
            while self.keys[slot] and self.keys[slot] != key:
                slot = (slot + 1) & (SLOTS - 1)
            self.keys[slot], self.values[slot] = key, value


# Elements that make blocks, by their number. What is in one group closes, or is closed by, the same ends.
(OTHER, DIV, P, H1, H2, H3, H4, H5, H6, UL, OL, LI, DL, DT, DD, TABLE, SECTION_OF_ROWS, TR, TD, TH, CAPTION, PRE, BLOCKQUOTE, ARTICLE,
 SECTION, MAIN, HEADER, FOOTER, NAV, ASIDE, FIGURE, FIGCAPTION, FORM, DETAILS, SUMMARY, ADDRESS, NOSCRIPT) = range(37)  # fmt: skip
# Elements of which only their begin matters, or that lie within a line.
LINK, BREAK, RULE, BOLD, BUTTON = range(40, 45)
# Elements whose content is no text: read to their end tag. RAW runs to the page's end where there is none, SKIPPED is then ignored.
SCRIPT, RAW, SKIPPED = range(50, 53)

_NAMES = {
    "div": DIV, "center": DIV, "fieldset": DIV, "hgroup": DIV, "dialog": DIV, "search": DIV, "legend": DIV, "menu": UL, "p": P,
    "h1": H1, "h2": H2, "h3": H3, "h4": H4, "h5": H5, "h6": H6, "ul": UL, "ol": OL, "dir": UL, "li": LI, "dl": DL, "dt": DT, "dd": DD,
    "table": TABLE, "thead": SECTION_OF_ROWS, "tbody": SECTION_OF_ROWS, "tfoot": SECTION_OF_ROWS, "tr": TR, "td": TD, "th": TH,
    "caption": CAPTION, "pre": PRE, "listing": PRE, "blockquote": BLOCKQUOTE, "article": ARTICLE, "section": SECTION, "main": MAIN,
    "header": HEADER, "footer": FOOTER, "nav": NAV, "aside": ASIDE, "figure": FIGURE, "figcaption": FIGCAPTION, "form": FORM,
    "details": DETAILS, "summary": SUMMARY, "address": ADDRESS, "noscript": NOSCRIPT,
    "a": LINK, "br": BREAK, "hr": RULE, "b": BOLD, "strong": BOLD, "button": BUTTON, "label": OTHER,
    "script": SCRIPT, "style": RAW, "textarea": RAW, "title": RAW, "iframe": RAW, "noembed": RAW, "noframes": RAW, "xmp": RAW,
    "svg": SKIPPED, "template": SKIPPED, "select": SKIPPED, "datalist": SKIPPED, "video": SKIPPED, "audio": SKIPPED, "canvas": SKIPPED,
    "annotation": SKIPPED,
}  # fmt: skip
TAGS = WordTable({name: float(code) for name, code in _NAMES.items()})
# Headings end each other; cells, terms, and lists too.
GROUP = np.arange(64, dtype=np.int64)
GROUP[H1 : H6 + 1] = H1
GROUP[TD : TH + 1] = TD
GROUP[DT : DD + 1] = DT
GROUP[UL : OL + 1] = UL
# Beginning one of these ends a paragraph that is open (WHATWG HTML 13.2.6.4.7).
ENDS_P = np.zeros(64, np.bool_)
ENDS_P[DIV : ADDRESS + 1] = True
ENDS_P[[SECTION_OF_ROWS, TR, TD, TH, CAPTION]] = False

# Attributes whose words are evidence of what an element holds, and those that say it is not shown.
NAMED, STYLE, TYPE, HIDDEN = range(1, 5)
ATTRIBUTES = WordTable({"class": NAMED, "id": NAMED, "role": NAMED, "itemprop": NAMED, "style": STYLE, "type": TYPE, "hidden": HIDDEN,
                    "aria-hidden": 0, "start": 0})  # fmt: skip

# Kinds of what a page has beside its content, by the words that name it; bits of an element's evidence.
_KINDS: dict[str, str] = {
    "comment": "comment comments commentlist commenter disqus respond reply replies discussion livefyre commentaires"
    " kommentare kommentar comentarios",
    "navigation": "nav navbar navigation menu menubar topbar breadcrumb breadcrumbs crumb crumbs pagination pager"
    " pagenav paging toc toolbar tabs skip"
    " toctree sphinxsidebar navi",
    "footer": "footer foot footnav colophon contentinfo bottombar impressum copyright",
    "header": "header masthead banner topnav head hero",
    "side": "sidebar aside side complementary rail sidebars widget widgets widgetarea panel",
    "related": "related recommended recommendations more also similar popular trending latest recent promo teaser"
    " teasers outbrain taboola"
    " suggested readmore mehr next prev previous adjacent upsell carousel slider",
    "share": "share sharing social sharedaddy addthis addtoany sharebar facebook twitter linkedin pinterest whatsapp follow like likes",
    "advert": "ad ads advert adverts advertisement advertisements sponsor sponsored sponsors dfp werbung anzeige publicidad pub banners",
    "consent": "cookie cookies consent gdpr modal popup overlay paywall subscribe subscription newsletter signup login signin register"
    " registration donate donation cta optin",
    "meta": "meta byline author authors date time timestamp published dateline tags tag taglist category categories"
    " info postmeta credit credits"
    " bio avatar posted published metadata reading",
    "hidden": "hidden hide invisible screenreader sr visuallyhidden print noprint offscreen",
    "caption": "caption captions wp-caption figcaption imagecaption credit gallery thumbnail",
    "content": "article content post entry story body text main articlebody postcontent maincontent richtext prose"
    " markdown blogpost page document"
    " rst editorial",
    "numbers": "gutter linenos lineno linenumbers linenumber blob-num",
    "summary": "summary lead excerpt intro standfirst abstract teasertext dek deck subtitle description",
    "title": "title headline heading hed",
}  # fmt: skip
KINDS = tuple(_KINDS)
NUMBERS = 1 << KINDS.index("numbers")
NOT_SHOWN = 1 << len(KINDS)  # by its style or the attribute `hidden`
KIND_BITS: dict[str, int] = {}
for _number, _words in enumerate(_KINDS.values()):
    for _word in _words.split():
        KIND_BITS[_word] = KIND_BITS.get(_word, 0) | 1 << _number
