%0 = load <4 x float>, <4 x float>* %1
%2 = load <4 x float>, <4 x float>* %3
%4 = load <4 x float>, <4 x float>* %5
%6 = load <4 x float>, <4 x float>* %7
%8 = load <4 x float>, <4 x float>* %9
%10 = load <4 x float>, <4 x float>* %11
%12 = load <4 x float>, <4 x float>* %13
%14 = load <4 x float>, <4 x float>* %15
%16 = load <4 x float>, <4 x float>* %17
%18 = load <4 x float>, <4 x float>* %19
%20 = load <4 x float>, <4 x float>* %21
%22 = load <4 x float>, <4 x float>* %23
%24 = icmp slt i64 %25, 4
%26 = select  i1 %24, i64 %25, i64 4
%27 = trunc i64 %26 to i32
%28 = insertelement <4 x i32> undef, i32 %27, i32 0
%29 = shufflevector <4 x i32> %28, <4 x i32> undef, <4 x i32> zeros
%30 = icmp slt <4 x i32> <i32 0, i32 1, i32 2, i32 3>, %29
%31 = getelementptr inbounds float, ptr %32, i64 %33
%34 = getelementptr inbounds float, ptr %31, i64 7
%35 = call <4 x float> @"llvm.masked.load.v4f32.p0"(ptr %34, i32 4, <4 x i1> %30, <4 x float> <float 0.0, float 0.0, float 0.0, float 0.0>)
%36 = icmp slt i64 %25, 4
%37 = select  i1 %36, i64 %25, i64 4
%38 = trunc i64 %37 to i32
%39 = insertelement <4 x i32> undef, i32 %38, i32 0
%40 = shufflevector <4 x i32> %39, <4 x i32> undef, <4 x i32> zeros
%41 = icmp slt <4 x i32> <i32 0, i32 1, i32 2, i32 3>, %40
%42 = getelementptr inbounds float, ptr %32, i64 %33
%43 = call <4 x float> @"llvm.masked.load.v4f32.p0"(ptr %42, i32 4, <4 x i1> %41, <4 x float> <float 0.0, float 0.0, float 0.0, float 0.0>)
%44 = sub nsw i64 %25, 4
%45 = icmp slt i64 %44, 4
%46 = select  i1 %45, i64 %44, i64 4
%47 = trunc i64 %46 to i32
%48 = insertelement <4 x i32> undef, i32 %47, i32 0
%49 = shufflevector <4 x i32> %48, <4 x i32> undef, <4 x i32> zeros
%50 = icmp slt <4 x i32> <i32 0, i32 1, i32 2, i32 3>, %49
%51 = getelementptr inbounds float, ptr %32, i64 %33
%52 = getelementptr inbounds float, ptr %51, i64 11
%53 = call <4 x float> @"llvm.masked.load.v4f32.p0"(ptr %52, i32 4, <4 x i1> %50, <4 x float> <float 0.0, float 0.0, float 0.0, float 0.0>)
%54 = sub nsw i64 %25, 4
%55 = icmp slt i64 %54, 4
%56 = select  i1 %55, i64 %54, i64 4
%57 = trunc i64 %56 to i32
%58 = insertelement <4 x i32> undef, i32 %57, i32 0
%59 = shufflevector <4 x i32> %58, <4 x i32> undef, <4 x i32> zeros
%60 = icmp slt <4 x i32> <i32 0, i32 1, i32 2, i32 3>, %59
%61 = getelementptr inbounds float, ptr %32, i64 %33
%62 = getelementptr inbounds float, ptr %61, i64 4
%63 = call <4 x float> @"llvm.masked.load.v4f32.p0"(ptr %62, i32 4, <4 x i1> %60, <4 x float> <float 0.0, float 0.0, float 0.0, float 0.0>)
%64 = fmul contract nsz <4 x float> %0, %35
%65 = fadd contract nsz <4 x float> %64, %43
%66 = fcmp uge <4 x float> %65, <float              0x0, float              0x0, float              0x0, float              0x0>
%67 = select  <4 x i1> %66, <4 x float> %65, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %67, ptr %68, i32 4, <4 x i1> %69)
%70 = fmul contract nsz <4 x float> %2, %53
%71 = fadd contract nsz <4 x float> %70, %63
%72 = getelementptr inbounds float, ptr %68, i64 4
%73 = fcmp uge <4 x float> %71, <float              0x0, float              0x0, float              0x0, float              0x0>
%74 = select  <4 x i1> %73, <4 x float> %71, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %74, ptr %72, i32 4, <4 x i1> %75)
%76 = fmul contract nsz <4 x float> %4, %35
%77 = fadd contract nsz <4 x float> %76, %43
%78 = getelementptr inbounds float, ptr %68, i64 7
%79 = fcmp uge <4 x float> %77, <float              0x0, float              0x0, float              0x0, float              0x0>
%80 = select  <4 x i1> %79, <4 x float> %77, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %80, ptr %78, i32 4, <4 x i1> %69)
%81 = fmul contract nsz <4 x float> %6, %53
%82 = fadd contract nsz <4 x float> %81, %63
%83 = getelementptr inbounds float, ptr %68, i64 7
%84 = getelementptr inbounds float, ptr %83, i64 4
%85 = fcmp uge <4 x float> %82, <float              0x0, float              0x0, float              0x0, float              0x0>
%86 = select  <4 x i1> %85, <4 x float> %82, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %86, ptr %84, i32 4, <4 x i1> %75)
%87 = fmul contract nsz <4 x float> %8, %35
%88 = fadd contract nsz <4 x float> %87, %43
%89 = getelementptr inbounds float, ptr %68, i64 14
%90 = fcmp uge <4 x float> %88, <float              0x0, float              0x0, float              0x0, float              0x0>
%91 = select  <4 x i1> %90, <4 x float> %88, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %91, ptr %89, i32 4, <4 x i1> %69)
%92 = fmul contract nsz <4 x float> %10, %53
%93 = fadd contract nsz <4 x float> %92, %63
%94 = getelementptr inbounds float, ptr %68, i64 14
%95 = getelementptr inbounds float, ptr %94, i64 4
%96 = fcmp uge <4 x float> %93, <float              0x0, float              0x0, float              0x0, float              0x0>
%97 = select  <4 x i1> %96, <4 x float> %93, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %97, ptr %95, i32 4, <4 x i1> %75)
%98 = fmul contract nsz <4 x float> %12, %35
%99 = fadd contract nsz <4 x float> %98, %43
%100 = getelementptr inbounds float, ptr %68, i64 21
%101 = fcmp uge <4 x float> %99, <float              0x0, float              0x0, float              0x0, float              0x0>
%102 = select  <4 x i1> %101, <4 x float> %99, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %102, ptr %100, i32 4, <4 x i1> %69)
%103 = fmul contract nsz <4 x float> %14, %53
%104 = fadd contract nsz <4 x float> %103, %63
%105 = getelementptr inbounds float, ptr %68, i64 21
%106 = getelementptr inbounds float, ptr %105, i64 4
%107 = fcmp uge <4 x float> %104, <float              0x0, float              0x0, float              0x0, float              0x0>
%108 = select  <4 x i1> %107, <4 x float> %104, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %108, ptr %106, i32 4, <4 x i1> %75)
%109 = fmul contract nsz <4 x float> %16, %35
%110 = fadd contract nsz <4 x float> %109, %43
%111 = getelementptr inbounds float, ptr %68, i64 28
%112 = fcmp uge <4 x float> %110, <float              0x0, float              0x0, float              0x0, float              0x0>
%113 = select  <4 x i1> %112, <4 x float> %110, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %113, ptr %111, i32 4, <4 x i1> %69)
%114 = fmul contract nsz <4 x float> %18, %53
%115 = fadd contract nsz <4 x float> %114, %63
%116 = getelementptr inbounds float, ptr %68, i64 28
%117 = getelementptr inbounds float, ptr %116, i64 4
%118 = fcmp uge <4 x float> %115, <float              0x0, float              0x0, float              0x0, float              0x0>
%119 = select  <4 x i1> %118, <4 x float> %115, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %119, ptr %117, i32 4, <4 x i1> %75)
%120 = fmul contract nsz <4 x float> %20, %35
%121 = fadd contract nsz <4 x float> %120, %43
%122 = getelementptr inbounds float, ptr %68, i64 35
%123 = fcmp uge <4 x float> %121, <float              0x0, float              0x0, float              0x0, float              0x0>
%124 = select  <4 x i1> %123, <4 x float> %121, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %124, ptr %122, i32 4, <4 x i1> %69)
%125 = fmul contract nsz <4 x float> %22, %53
%126 = fadd contract nsz <4 x float> %125, %63
%127 = getelementptr inbounds float, ptr %68, i64 35
%128 = getelementptr inbounds float, ptr %127, i64 4
%129 = fcmp uge <4 x float> %126, <float              0x0, float              0x0, float              0x0, float              0x0>
%130 = select  <4 x i1> %129, <4 x float> %126, <4 x float> <float              0x0, float              0x0, float              0x0, float              0x0>
call void @"llvm.masked.store.v4f32.p0"(<4 x float> %130, ptr %128, i32 4, <4 x i1> %75)
%131 = add nsw i64 %132, 6
store i64 %131, i64* %133
br label %134
