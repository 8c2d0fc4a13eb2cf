"""Why something happened: its command, who held what and who waited, what it rests on, what came of it.

`explanation.py` puts it together, for any domain. What a domain's events say in words is in the file of its name.
"""
