"""Random probes and the confidence intervals of means over them.

| file        | what it holds                                             |
|-------------|-----------------------------------------------------------|
| `draw`      | probe vectors; the same seed gives the same bits          |
| `intervals` | confidence intervals for means of few, skewed samples     |
"""
