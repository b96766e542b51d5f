"""`wapipe demo`: a campaign with everything that goes wrong in one, and the books of it, which must balance.

The first file to read is `command.py`. `campaign.py` says what is written and what should become of it (pure),
`drive.py` writes it and lets things happen on the way, `tally.py` and `view.py` show how it goes, `books.py` reads
what the topics and the simulator hold afterwards, `judge.py` counts that (pure), `summary.py` prints it.
"""
