"""Temporary."""
import numpy as np
def numpy_aliases():
    for n,t in dict(bool=np.bool_,int=np.int_,float=np.float64,complex=np.complex128,object=np.object_,str=np.str_,long=np.int_,unicode=np.str_,float_=np.float64).items():
        if not hasattr(np,n): setattr(np,n,t)
