"""The page where people look and act: a read model of the topics, rendered on the server.

    Kafka ──▶ feed (a thread) ──▶ store (SQLite) ──▶ query ──▶ pages ──▶ HTML, and fragments of it by SSE
    forms ──▶ pages ──▶ pipeline/operations: the same acts as the command line's, audited ──▶ Kafka

Why HTML from the server: the page has three behaviours only (a form, a link, a fragment that is swapped once a second),
so one hand-written script and one style sheet do, and nobody has to keep a second language's build alive for them.
Plots are SVG, drawn here. All of it works without internet; forms and links work without script, too.
"""
