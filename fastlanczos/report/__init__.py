"""Reports on tracked runs and studies. Reads JSON records; needs no PyTorch.

| file        | what it holds                                                        |
|-------------|----------------------------------------------------------------------|
| `folder`    | what lies in a folder: tracked runs, or a study                      |
| `results`   | a study's runs, settings and experiments, read back from its folder  |
| `page`      | `write_page`: one HTML page, from the template `page.html`           |
| `figures`   | `write_figures`: the paper's figures as PNG files                    |
"""
