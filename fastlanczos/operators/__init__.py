"""Anything that multiplies a vector.

| file       | what it holds                                                          |
|------------|------------------------------------------------------------------------|
| `operator` | `as_operator`: every accepted form of A becomes an `Operator`          |
| `native`   | matrices and C functions, which multiply without Python                |
| `entries`  | matrices whose entries can be read: whether they are symmetric         |
| `cost`     | what a product costs, told without a clock                             |
"""
