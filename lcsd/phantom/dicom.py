"""placeholder"""
def write_study(*a, **k):
    raise NotImplementedError
