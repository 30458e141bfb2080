"""The quality report of a day: what the tables say of it, in words, as text and as one page.

    page, text <- sentences, plots <- words
         day  (asks ClickHouse)

Only `day` talks to a database; the rest are functions of what it found.
"""
