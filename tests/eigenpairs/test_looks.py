"""When a growing chain is looked at again."""

from fastlanczos.eigenpairs.looks import steps_to_the_next_look


def test_two_percent_of_a_chain_of_which_nothing_is_known():
    assert steps_to_the_next_look(1, (0, False, 0.0), (10, True, 5.0)) == 1
    assert steps_to_the_next_look(1, (0, False, 0.0), (500, True, 5.0)) == 10
    assert steps_to_the_next_look(5, (0, False, 0.0), (500, True, 5.0)) == 2


def test_half_of_what_is_left_if_it_goes_on_so():
    assert steps_to_the_next_look(1, (90, True, 11.0), (100, True, 10.0)) == 30  # of 100 left, but 30% at most
    assert steps_to_the_next_look(1, (90, True, 5.0), (100, True, 1.0)) == 2
    assert steps_to_the_next_look(1, (90, False, 11.0), (100, True, 10.0)) == 2  # something else is waited for
