"""The sets: what is asked of a model, and how an answer is judged.

A *measured* set (`measured.py`) needs no tuning: it takes a model and the held-out sample and gives a row an item. An *item* set
(`items.py`) makes items from held-out documents, for a model that is tuned on some of them.
"""
