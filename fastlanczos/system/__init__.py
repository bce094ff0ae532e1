"""The process and its files.

| file      | what it holds                                                    |
|-----------|------------------------------------------------------------------|
| `config`  | `show_config`, `get_include`: what this build is                 |
| `threads` | how many threads the engine uses                                 |
| `files`   | files that are written completely or not at all                  |
"""
