"""Double Q-learning (van Hasselt et al., AAAI 2016), in the notation of its equations.

s_tm1 is what is remembered before a frame, a_tm1 the window that the frame is looked at through, r_t
how much the score of the full-frame answer rises by it, s_t what is remembered after.
"""

from keras import ops


def double_q_target(r_t, discount, q_t_online, q_t_target):
    """What Q(s_tm1, a_tm1) should be (...,): r_t + discount * Q_target(s_t, argmax_a Q_online(s_t, a)).

    The online network chooses, the target network judges, of values (..., A), which keeps the maximum over noisy
    values from being too hopeful. No gradient flows through it.
    """
    a_t = ops.one_hot(ops.argmax(q_t_online, axis=-1), q_t_online.shape[-1])
    return ops.stop_gradient(r_t + discount * ops.sum(a_t * q_t_target, axis=-1))


def huber(error):
    """Half the squared error up to 1, linear from there on: one odd clip moves no more than many."""
    size = ops.abs(error)
    quadratic = ops.minimum(size, 1.0)
    return 0.5 * quadratic**2 + (size - quadratic)


def epsilon_greedy(q_values, explores, random_action):
    """Actions (...,) int32: the best of values (..., A), or `random_action` (...,) where `explores` (...,)."""
    _, best = ops.top_k(q_values, 1)
    return ops.where(explores, random_action, ops.cast(best[..., 0], "int32"))


def move_towards(target_variables, online_variables, rate: float):
    """Lets a target network follow the online one: target += rate * (online - target)."""
    for target, online in zip(target_variables, online_variables, strict=True):
        target.assign(target + rate * (ops.cast(online, target.dtype) - target))
