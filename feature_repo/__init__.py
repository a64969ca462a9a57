"""The Feast repository: entities, sources, views and services.

Its files hold functions of the home folder, so that one definition serves the command line, the tests and
every home; `definitions` calls them once for whoever types `feast apply` here.
"""
