"""URL rules: block lists of domains and URLs, and RefinedWeb's words (Penedo et al. 2023, arXiv 2306.01116, appendix G.1).

The lists are files, and none comes with this package. The field uses UT1's (https://dsi.ut-capitole.fr/blacklists/, CC BY-SA), of which
datatrove ships one state, with three lists of words. A URL is judged in this order, and the first that matches decides: exempt domains,
blocked domains, blocked URLs, hard words (one is enough), soft words (two), subwords (anywhere in what remains of the URL
without punctuation: RefinedWeb's strict matching). Order, word boundaries and thresholds are those of datatrove's `URLFilter`.

Departures from `URLFilter`; by each of them ours drops more:

- A domain is blocked with all that lies under it. datatrove looks at the host and at its registered domain (by the public suffix
  list, which it downloads), and not at what stands between: `b.example.co.uk` in a list does not block `a.b.example.co.uk`.
- URLs are compared without scheme, user, port, `www.`, fragment and final slash, with hosts in lower case and punycode and
  with needless percent-encoding undone; a listed URL blocks what lies under it, as in the squidGuard lists that UT1's are.
  datatrove compares the characters as they are.
- Words are found in any case (datatrove: lower case alone) and percent-encoding is undone first (for
  datatrove `free%20word` has the word `20word`). A line of a list that begins with `#` is a comment, as for datatrove.

Domains and words are compared by 64-bit hashes: with five million entries one URL in 10^12 matches an entry by accident. Time is linear
in the URLs' lengths: the host is hashed once from its end, the path once from its beginning, the rest is one automaton.
"""

from pipeline.filters.url.rules import UrlRules as UrlRules
