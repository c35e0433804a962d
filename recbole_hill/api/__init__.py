"""The package from Python: data, runs, comparisons and lists of other libraries, in few words.

The names are those of :mod:`recbole_hill` itself::

    import recbole_hill as rh

    data = rh.Dataset.from_pandas(df, user="customer", item="sku", time="ordered_at")
    run = rh.fit("HILL", data, backbone="LightGCN", split="global_time")
    run.recommend(["c42"], k=10)
"""
