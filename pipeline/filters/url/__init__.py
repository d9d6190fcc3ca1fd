"""URL rules: block lists of domains and URLs, and RefinedWeb's words (Penedo et al. 2023, arXiv 2306.01116, appendix G.1).

The lists are files; none comes with us (the field's is UT1's, https://dsi.ut-capitole.fr/blacklists/, CC BY-SA; datatrove ships
one of its states and three lists of words). A URL is judged in this order, and the first that speaks decides: exempt domains,
blocked domains, blocked URLs, hard words (one is enough), soft words (two), subwords (anywhere in what remains of the URL
without punctuation: RefinedWeb's strict matching). Order, word boundaries and thresholds are those of datatrove's `URLFilter`.

Departures from `URLFilter`, by which ours drops more:

- A domain is blocked with all that lies under it. datatrove looks at the host and at its registered domain (by the public suffix
  list, which it downloads), and not at what stands between: `b.example.co.uk` in a list does not block `a.b.example.co.uk`.
- URLs are compared without scheme, user, port, `www.`, fragment and final slash, with hosts in lower case and punycode and
  with needless percent-encoding undone; a listed URL blocks what lies under it, as in the squidGuard lists that UT1's are.
  datatrove compares the characters as they are.
- Words are found in any case (datatrove: lower case alone) and percent-encoding is undone first (`%20` ends a word there only
  by accident: `free%20word` has the word `20word`). A word of UT1's comment lines (`#`) is none, as there.

Domains and words are compared by 64-bit hashes: with five million entries one URL in 10^12 finds another's entry. Time is linear
in the URLs' lengths: the host is hashed once from its end, the path once from its beginning, the rest is one automaton.
"""

from pipeline.filters.url.rules import UrlRules as UrlRules
